# SPDX-License-Identifier: Apache-2.0
# Registration by file name: writes generated/<name>_list.inc with one MACRO(stem) line per file that
# matches the pattern. One .cc per kind expands the list into an array, so adding a file is all it
# takes, and a static library cannot drop it.
function(octavo_plugin_list name macro)
  set(lines "")
  foreach(pattern IN LISTS ARGN)
    file(GLOB files CONFIGURE_DEPENDS ${pattern})
    foreach(file IN LISTS files)
      get_filename_component(stem ${file} NAME_WE)
      if(NOT stem MATCHES "_(test|bench)$")
        string(APPEND lines "${macro}(${stem})\n")
      endif()
    endforeach()
  endforeach()
  set(path ${CMAKE_BINARY_DIR}/generated/${name}_list.inc)
  file(WRITE ${path}.new "${lines}")
  file(COPY_FILE ${path}.new ${path} ONLY_IF_DIFFERENT)
endfunction()
