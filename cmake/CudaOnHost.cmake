# Kernels' sources as C++, for tests without a GPU (tests/support/cuda_on_host.h). Under ThreadSanitizer there is
# nothing to see: they have one thread.
add_library(cuda_on_host STATIC EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/support/cuda_on_host.cpp
            ${PROJECT_SOURCE_DIR}/tests/support/fiber.cpp)
target_link_libraries(cuda_on_host PUBLIC engine_core GTest::gtest PRIVATE fulcrum_warnings)
target_compile_definitions(cuda_on_host PUBLIC FULCRUM_CUDA_ON_HOST)

# fulcrum_cuda_on_host(<file.cu...>): compile them with the C++ compiler.
function(fulcrum_cuda_on_host)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX)
endfunction()

file(GLOB kernel_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/kernels/*/*.cu)
if(kernel_sources)
  fulcrum_cuda_on_host(${kernel_sources})
  add_library(engine_kernels_on_host STATIC EXCLUDE_FROM_ALL ${kernel_sources})
  target_link_libraries(engine_kernels_on_host PUBLIC cuda_on_host engine_kernels PRIVATE fulcrum_warnings)
  # They load and store several numbers at once, which CUDA's compiler allows; its pragmas are its own.
  target_compile_options(engine_kernels_on_host PRIVATE -fno-strict-aliasing -Wno-unknown-pragmas)
  file(GLOB kernel_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/unit/engine/kernels/cuda/*_test.cpp)
  fulcrum_test(unit_cuda_kernels SOURCES ${kernel_tests} LINK engine_kernels_on_host LABEL unit)
endif()

set(shim_test ${PROJECT_SOURCE_DIR}/tests/unit/support/cuda_on_host_test.cu)
fulcrum_cuda_on_host(${shim_test})
fulcrum_test(unit_cuda_on_host SOURCES ${shim_test} LINK cuda_on_host LABEL unit)
