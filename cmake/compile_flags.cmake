# SPDX-License-Identifier: Apache-2.0
# Flags shared by every target. The library is built for baseline x86-64; only kernel files whose
# name ends in an ISA level get more (isa.cmake).
add_library(octavo_flags INTERFACE)
target_include_directories(octavo_flags INTERFACE
  ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src ${CMAKE_BINARY_DIR}/generated)
target_compile_definitions(octavo_flags INTERFACE OCTAVO_VERSION="${PROJECT_VERSION}")
target_compile_options(octavo_flags INTERFACE -Wall -Wextra -Wconversion -Wno-sign-conversion
  -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # libstdc++ 12's stable_sort calls its own deprecated get_temporary_buffer.
  target_compile_options(octavo_flags INTERFACE -Wno-deprecated-declarations)
endif()
if(OCTAVO_WERROR)
  target_compile_options(octavo_flags INTERFACE -Werror)
endif()
if(OCTAVO_SANITIZE)
  target_compile_options(octavo_flags INTERFACE
    -fsanitize=${OCTAVO_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(octavo_flags INTERFACE -fsanitize=${OCTAVO_SANITIZE})
endif()
if(OCTAVO_FUZZ)
  target_compile_options(octavo_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
