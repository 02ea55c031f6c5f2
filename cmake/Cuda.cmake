# The CUDA plugin, bin/libfulcrum_cuda.so: every .cu of engine/kernels, compiled by nvcc for the processors below and
# linked with the CUDA runtime alone. It needs no GPU to build. CMake's own CUDA language would want a compiler that can
# link a program before the project says where its libraries are, so the commands stand here.
option(FULCRUM_CUDA "build the CUDA plugin where nvcc is (./dev setup fetches it; no GPU is needed)" ON)
set(FULCRUM_NCCL_INCLUDE "${FULCRUM_DEPS}/nccl-2.28.9/nvidia/nccl/include" CACHE PATH "where nccl.h is; nothing of NCCL is linked")
set(FULCRUM_CUDA_ROOT "${FULCRUM_DEPS}/cuda-13.0/nvidia/cu13" CACHE PATH "CUDA 13.0: bin/nvcc, include, lib")

# The build that program and plugin agree on (engine/kernels/device/plugin.h), and that workers on GPUs compare.
include(cmake/PluginBuild.cmake)
file(GLOB kernel_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/kernels/*/*.cu)
fulcrum_plugin_build(${PROJECT_SOURCE_DIR} plugin_sources sources_hash ${kernel_sources} ${CMAKE_CURRENT_LIST_FILE})
set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${plugin_sources})
set(FULCRUM_PLUGIN_BUILD "${PROJECT_VERSION}-${sources_hash}")
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
    -I ${PROJECT_SOURCE_DIR} -isystem ${FULCRUM_NCCL_INCLUDE})
set(objects)
foreach(source IN LISTS kernel_sources)
  file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR}/engine/kernels ${source})
  set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
  get_filename_component(folder ${object} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  set(defines)
  if(name STREQUAL "device/cuda_plugin.cu")  # alone: or each kernel would be compiled anew whenever one changes
    set(defines "-DFULCRUM_PLUGIN_BUILD=\"${FULCRUM_PLUGIN_BUILD}\"")
  endif()
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${FULCRUM_CCACHE} ${FULCRUM_NVCC} ${nvcc_flags} ${defines} -MD -MF ${object}.d -c ${source} -o ${object}
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
