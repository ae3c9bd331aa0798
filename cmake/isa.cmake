# SPDX-License-Identifier: Apache-2.0
# The ISA levels, lowest first, and the compiler flags each adds. A kernel file named *_<level>.cc is
# compiled with them. A new level is one row here plus its row in src/base/cpu_features.cc.
set(OCTAVO_ISA_LEVELS reference avx2 avx512 avx512_vnni avx512_bf16 amx)
set(isa_avx2_flags -mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt)
set(isa_avx512_flags ${isa_avx2_flags} -mprfchw -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512cd)
set(isa_avx512_vnni_flags ${isa_avx512_flags} -mavx512vnni -mavx512vbmi -mavx512vbmi2)
set(isa_avx512_bf16_flags ${isa_avx512_vnni_flags} -mavx512bf16)
set(isa_amx_flags ${isa_avx512_bf16_flags} -mamx-tile -mamx-int8 -mamx-bf16)
# -fno-exceptions keeps weak personality symbols out; -fno-tree-pre -fno-gcse stop GCC 12 from
# spilling accumulators inside the K loop (docs/numerics.md); GCC 12's own AVX-512 headers trip the
# uninitialized warnings.
set(isa_common_flags -O3 -fno-exceptions -fno-math-errno -ffp-contract=off -Wno-conversion)
set(isa_gnu_flags -fno-tree-pre -fno-gcse -Wno-uninitialized -Wno-maybe-uninitialized)

# Applies the level's flags to every source whose name ends in _<level>.cc.
function(octavo_set_isa_flags)
  foreach(source IN LISTS ARGN)
    foreach(level IN LISTS OCTAVO_ISA_LEVELS)
      if(source MATCHES "_${level}\\.cc$")
        set(flags ${isa_common_flags} ${isa_${level}_flags})
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
          list(APPEND flags ${isa_gnu_flags})
        endif()
      endif()
    endforeach()
    if(flags)
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
      unset(flags)
    endif()
  endforeach()
endfunction()
