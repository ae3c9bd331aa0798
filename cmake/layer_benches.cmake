# SPDX-License-Identifier: Apache-2.0
# One program per *_bench.cc under src/, linked with the library of its layer.
get_property(layers GLOBAL PROPERTY octavo_layers)
foreach(layer IN LISTS layers)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${layer}/*_bench.cc)
  foreach(source IN LISTS sources)
    get_filename_component(stem ${source} NAME_WE)
    add_executable(${stem} ${source})
    target_link_libraries(${stem} PRIVATE octavo_${layer} benchmark::benchmark)
  endforeach()
endforeach()
