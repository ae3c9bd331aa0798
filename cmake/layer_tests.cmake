# SPDX-License-Identifier: Apache-2.0
# One test program per layer from all its *_test.cc files; each gtest suite is a ctest of its own.
get_property(layers GLOBAL PROPERTY octavo_layers)
foreach(layer IN LISTS layers)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${layer}/*_test.cc)
  if(sources)
    add_executable(${layer}_test ${sources})
    target_link_libraries(${layer}_test PRIVATE octavo_${layer} GTest::gmock GTest::gtest_main)
    target_include_directories(${layer}_test PRIVATE ${CMAKE_SOURCE_DIR})
    target_compile_definitions(${layer}_test PRIVATE OCTAVO_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    gtest_discover_tests(${layer}_test PROPERTIES LABELS unit DISCOVERY_TIMEOUT 60 TIMEOUT 300)
  endif()
endforeach()
