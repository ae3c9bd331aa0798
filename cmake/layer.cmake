# SPDX-License-Identifier: Apache-2.0
# octavo_layer(NAME DEPENDS layers... LIBRARIES targets...): one static library per src/ folder from
# all its .cc files but main, tests, benchmarks and fuzz targets. DEPENDS are the arrows of
# tools/check_layers.py.
function(octavo_layer name)
  cmake_parse_arguments(arg "" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "(_(test|bench|fuzz)|/main)\\.cc$")
  if(NOT sources)
    add_library(octavo_${name} INTERFACE)
    set(scope INTERFACE)
  else()
    octavo_set_isa_flags(${sources})
    add_library(octavo_${name} STATIC ${sources})
    set(scope PUBLIC)
  endif()
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(octavo_${name} ${scope} octavo_${dependency})
  endforeach()
  target_link_libraries(octavo_${name} ${scope} octavo_flags ${arg_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY octavo_layers ${name})
endfunction()
