# SPDX-License-Identifier: Apache-2.0
# Header-only Boost.Asio and Beast as target octavo_boost. 1.81 at least: 1.74, Debian's default, has
# no per-operation cancellation. Warnings in its headers are not ours (SYSTEM).
find_path(OCTAVO_BOOST_INCLUDE_DIR boost/beast/version.hpp REQUIRED)
file(STRINGS ${OCTAVO_BOOST_INCLUDE_DIR}/boost/version.hpp boost_version_line
  REGEX "#define BOOST_VERSION [0-9]+")
string(REGEX MATCH "[0-9]+" boost_version "${boost_version_line}")
if(boost_version LESS 108100)
  message(FATAL_ERROR "Boost 1.81 or later is needed (libboost1.81-dev), found ${boost_version}")
endif()
add_library(octavo_boost INTERFACE)
target_include_directories(octavo_boost SYSTEM INTERFACE ${OCTAVO_BOOST_INCLUDE_DIR})
target_compile_definitions(octavo_boost INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ALL_NO_LIB)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 takes Asio's recycling coroutine frames for mismatched new and delete, and has no TSan model
  # of the fences in its reference counts (harmless: the counts themselves are atomic).
  target_compile_options(octavo_boost INTERFACE -Wno-mismatched-new-delete)
  if(OCTAVO_SANITIZE STREQUAL "thread")
    target_compile_options(octavo_boost INTERFACE -Wno-tsan)
  endif()
endif()
