# SPDX-License-Identifier: Apache-2.0
# Sets OUT to the files joined in order, as adjacent C++ string literals. String literals beyond 64 KiB
# are not portable, so the text is cut; CMake cuts by bytes or by characters, depending on its version,
# and both join again.
function(string_literals_of_files out)
  set(content "")
  foreach(file IN LISTS ARGN)
    file(READ ${file} piece)
    string(APPEND content "${piece}")
  endforeach()
  string(LENGTH "${content}" length)
  set(literals "")
  set(at 0)
  while(at LESS length)
    string(SUBSTRING "${content}" ${at} 8000 piece)
    string(APPEND literals "    R\"text~(${piece})text~\"\n")
    math(EXPR at "${at} + 8000")
  endwhile()
  set(${out} "${literals}" PARENT_SCOPE)
endfunction()
