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
list(FILTER kernel_sources EXCLUDE REGEX "/cuda_(plugin|group)\\.cu$")
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

# NCCL's part, with a stand-in for its library, which the test has loaded when the plugin's source asks for it.
set(fake_nccl ${PROJECT_SOURCE_DIR}/tests/support/fake_nccl)
set(group_source ${PROJECT_SOURCE_DIR}/engine/kernels/device/cuda_group.cu)
add_library(fake_nccl SHARED EXCLUDE_FROM_ALL ${fake_nccl}/nccl.cpp)
target_include_directories(fake_nccl PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(fake_nccl PRIVATE fulcrum_flags)
set_target_properties(fake_nccl PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/fake_nccl
                      OUTPUT_NAME nccl SOVERSION 2)
fulcrum_cuda_on_host(${group_source})
fulcrum_test(unit_cuda_group SOURCES ${PROJECT_SOURCE_DIR}/tests/unit/engine/kernels/device/cuda_group_test.cpp ${group_source}
             LINK cuda_on_host engine_kernels LABEL unit)
target_include_directories(unit_cuda_group BEFORE PRIVATE ${fake_nccl})
target_link_libraries(unit_cuda_group PRIVATE fake_nccl)
target_link_options(unit_cuda_group PRIVATE -Wl,--no-as-needed)

# Plugins that must be refused, and the real one where it was built.
set(plugin_tests ${PROJECT_SOURCE_DIR}/tests/unit/engine/kernels/device)
foreach(fake plugin_of_another_build plugin_without_its_function)
  add_library(${fake} SHARED EXCLUDE_FROM_ALL ${plugin_tests}/fake_plugin.cpp)
  target_include_directories(${fake} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${fake} PRIVATE fulcrum_flags)
  set_target_properties(${fake} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()
target_compile_definitions(plugin_of_another_build PRIVATE "FAKE_BUILD=\"0.0.9-of-long-ago\"")
fulcrum_test(unit_cuda_plugin SOURCES ${plugin_tests}/plugin_test.cpp LINK engine_kernels LABEL unit)
add_dependencies(unit_cuda_plugin plugin_of_another_build plugin_without_its_function)
add_test(NAME cuda_plugin.build COMMAND python3 ${PROJECT_SOURCE_DIR}/tools/check_plugin_build.py ${CMAKE_COMMAND})
set_tests_properties(cuda_plugin.build PROPERTIES LABELS unit)
if(TARGET fulcrum_cuda)
  add_dependencies(unit_cuda_plugin fulcrum_cuda)
  target_compile_definitions(unit_cuda_plugin PRIVATE FULCRUM_HAS_CUDA_PLUGIN)
  add_test(NAME cuda_plugin.processors
           COMMAND python3 ${PROJECT_SOURCE_DIR}/tools/check_cuda_plugin.py $<TARGET_FILE:fulcrum_cuda>)
  set_tests_properties(cuda_plugin.processors PROPERTIES LABELS unit)
endif()
