# The CUDA plugin, bin/libfulcrum_cuda.so: every .cu of engine/kernels, compiled by nvcc for the processors below and
# linked with the CUDA runtime alone. It needs no GPU to build. CMake's own CUDA language would want a compiler that can
# link a program before the project says where its libraries are, so the commands stand here.
option(FULCRUM_CUDA "build the CUDA plugin where nvcc is (./dev setup fetches it; no GPU is needed)" ON)
set(FULCRUM_NCCL_INCLUDE "${FULCRUM_DEPS}/nccl-2.28.9/nvidia/nccl/include" CACHE PATH "where nccl.h is; nothing of NCCL is linked")
set(FULCRUM_CUDA_ROOT "${FULCRUM_DEPS}/cuda-13.0/nvidia/cu13" CACHE PATH "CUDA 13.0: bin/nvcc, include, lib")

# What program and plugin have in common; another hash of it is another build (engine/kernels/device/plugin.h).
set(plugin_interface
    engine/kernels/device/table.h engine/kernels/device/decode_table.h engine/kernels/device/group_table.h
    engine/kernels/device/plugin.h engine/kernels/adamw/op.h engine/kernels/weight_changes/op.h
    engine/kernels/piece_hashes/op.h engine/kernels/attention/op.h engine/kernels/softmax/op.h
    engine/divergence/generators/options.h engine/divergence/generators/divergences.def)
set(interface_hashes)
foreach(header IN LISTS plugin_interface)
  file(SHA256 ${PROJECT_SOURCE_DIR}/${header} hash)
  string(APPEND interface_hashes ${hash})
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${header})
endforeach()
string(SHA256 interface_hash "${interface_hashes}")
string(SUBSTRING ${interface_hash} 0 12 interface_hash)
set(FULCRUM_PLUGIN_BUILD "${PROJECT_VERSION}-${interface_hash}")
set_source_files_properties(${PROJECT_SOURCE_DIR}/engine/kernels/device/plugin.cpp PROPERTIES
                            COMPILE_DEFINITIONS "FULCRUM_PLUGIN_BUILD=\"${FULCRUM_PLUGIN_BUILD}\"")

set(FULCRUM_NVCC ${FULCRUM_CUDA_ROOT}/bin/nvcc)
if(NOT FULCRUM_CUDA)
  message(STATUS "CUDA plugin: left out (FULCRUM_CUDA=OFF)")
  return()
elseif(FULCRUM_SANITIZE)
  message(STATUS "CUDA plugin: left out of a build with sanitizers; the kernels' tests on the CPU are there")
  return()
elseif(NOT EXISTS ${FULCRUM_NVCC})
  message(STATUS "CUDA plugin: left out, ${FULCRUM_NVCC} is not there; ./dev setup fetches it")
  return()
elseif(NOT EXISTS ${FULCRUM_NCCL_INCLUDE}/nccl.h)
  message(STATUS "CUDA plugin: left out, ${FULCRUM_NCCL_INCLUDE}/nccl.h is not there; ./dev setup fetches it")
  return()
endif()

# Ampere, Hopper and Blackwell servers, and PTX for what comes between and after.
set(nvcc_flags
    -std=c++20 -O3 --expt-relaxed-constexpr -Werror all-warnings
    -ccbin ${CMAKE_CXX_COMPILER} -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra
    -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_100,code=sm_100
    -gencode arch=compute_80,code=compute_80
    "-DFULCRUM_PLUGIN_BUILD=\"${FULCRUM_PLUGIN_BUILD}\"" -I ${PROJECT_SOURCE_DIR} -isystem ${FULCRUM_NCCL_INCLUDE})
file(GLOB kernel_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/kernels/*/*.cu)
set(objects)
foreach(source IN LISTS kernel_sources)
  file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR}/engine/kernels ${source})
  set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
  get_filename_component(folder ${object} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${FULCRUM_CCACHE} ${FULCRUM_NVCC} ${nvcc_flags} -MD -MF ${object}.d -c ${source} -o ${object}
    DEPENDS ${source} ${FULCRUM_NVCC}
    DEPFILE ${object}.d
    COMMENT "Building CUDA object ${name}.o"
    VERBATIM)
  list(APPEND objects ${object})
endforeach()

add_library(fulcrum_cuda SHARED ${objects})
set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
set(exports ${CMAKE_BINARY_DIR}/cuda/exports.map)
file(WRITE ${exports} "{ global: fulcrum_cuda_plugin; local: *; };\n")
set_target_properties(fulcrum_cuda PROPERTIES LINKER_LANGUAGE CXX SKIP_BUILD_RPATH ON
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} LINK_DEPENDS ${exports})
target_link_libraries(fulcrum_cuda PRIVATE ${FULCRUM_CUDA_ROOT}/lib/libcudart.so.13)
target_link_options(fulcrum_cuda PRIVATE -Wl,--no-undefined -Wl,--version-script=${exports})
# LibTorch's copy of the runtime first: a process has one.
foreach(dir IN ITEMS ${FULCRUM_NVIDIA_LIBS} ${FULCRUM_CUDA_ROOT}/lib)
  target_link_options(fulcrum_cuda PRIVATE "-Wl,-rpath,${dir}")
endforeach()
set_property(GLOBAL APPEND PROPERTY FULCRUM_TEST_TARGETS fulcrum_cuda)
