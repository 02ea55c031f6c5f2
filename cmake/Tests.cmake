# Tests that belong to no single folder: laws iterate the registries, golden replays tests/golden/*.json.
fulcrum_test(laws_generators SOURCES ${PROJECT_SOURCE_DIR}/tests/laws/generator_laws_test.cpp
             LINK engine_divergence_generators LABEL laws)
if(NOT FULCRUM_SANITIZE STREQUAL "thread")  # they have one thread
  include(cmake/Fuzz.cmake)
  include(cmake/CudaOnHost.cmake)
  # Generation on an accelerator, its kernels run on the CPU.
  add_library(decode_on_host STATIC EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/support/decode_on_host.cpp)
  target_link_libraries(decode_on_host PUBLIC engine_kernels_on_host PRIVATE fulcrum_warnings)
  file(GLOB decode_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/unit/decode_on_host/*_test.cpp)
  fulcrum_test(unit_decode_on_host SOURCES ${decode_tests} LINK rollout decode_on_host LABEL unit TIMEOUT 300)
endif()

# Instructions of the hot paths under valgrind, against tests/instructions/baseline.json. Only the release build has
# numbers that mean something.
if(NOT FULCRUM_SANITIZE AND CMAKE_BUILD_TYPE STREQUAL "Release")
  fulcrum_program(instructions tests/instructions/main.cpp policy_decode engine_data)
  set_property(GLOBAL APPEND PROPERTY FULCRUM_TEST_TARGETS instructions)
  foreach(case decode_b1 decode_b16 pack softmax token_loss)
    add_test(NAME instructions.${case} COMMAND python3 ${PROJECT_SOURCE_DIR}/tests/instructions/check.py
             $<TARGET_FILE:instructions> ${case})
    set_tests_properties(instructions.${case} PROPERTIES LABELS instructions SKIP_RETURN_CODE 77 TIMEOUT 300)
  endforeach()
endif()

if(FULCRUM_TORCH)
  # A device that is not the CPU. An object library: nothing refers to what it registers.
  add_library(tests_far_device OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/support/far_device.cpp
              ${PROJECT_SOURCE_DIR}/tests/support/far_group.cpp)
  target_include_directories(tests_far_device PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(tests_far_device PUBLIC fulcrum_torch fulcrum_flags)
  fulcrum_test(unit_far_device SOURCES ${PROJECT_SOURCE_DIR}/tests/support/far_device_test.cpp
               LINK tests_far_device fulcrum_torch LABEL unit)
  # The learner where nothing of it lies on the CPU.
  file(GLOB device_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/device/*.cpp)
  fulcrum_test(device_learner SOURCES ${device_tests} LINK engine_pipeline rollout_rpc bench_gpu decode_on_host engine_kernels_on_host tests_far_device
               LABEL parity)
  fulcrum_test(laws_divergence SOURCES ${PROJECT_SOURCE_DIR}/tests/laws/divergence_laws_test.cpp
               LINK engine_divergence LABEL laws)
  # Closed forms on languages that can be enumerated (tests/support/tabular_world.h).
  file(GLOB world_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/laws/*_world_test.cpp)
  fulcrum_test(laws_worlds SOURCES ${world_tests} LINK engine_objective policy_nn LABEL laws)
  file(GLOB golden_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/golden/*.cpp)
  # What evaluates golden files: a library for the tests, and the program bin/replay for files of any seed.
  file(GLOB replay_ops CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/replay/*.cpp)
  list(FILTER replay_ops EXCLUDE REGEX "/main\\.cpp$")
  add_library(tests_replay STATIC ${replay_ops})
  target_link_libraries(tests_replay PUBLIC engine_pipeline tests_support PRIVATE fulcrum_warnings)
  add_executable(replay ${PROJECT_SOURCE_DIR}/tests/replay/main.cpp)
  target_link_libraries(replay PRIVATE tests_replay fulcrum_warnings)
  set_property(GLOBAL APPEND PROPERTY FULCRUM_TEST_TARGETS replay)
  fulcrum_test(golden_methods SOURCES ${golden_tests} LINK tests_replay LABEL golden)
endif()

# The real programs, started and killed.
if(FULCRUM_TORCH)
  fulcrum_test(e2e_cluster SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/cluster_test.cpp LINK engine_core LABEL e2e SERIAL)
  add_dependencies(e2e_cluster fulcrum fulcrum-engine)
endif()

if(FULCRUM_TORCH)
  fulcrum_test(e2e_tools SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/tools_test.cpp LINK engine_core LABEL e2e)
  fulcrum_test(e2e_soup SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/soup_test.cpp LINK engine_core LABEL e2e)
  add_dependencies(e2e_soup fulcrum fulcrum-engine)
  fulcrum_test(e2e_bad_input SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/bad_input_test.cpp LINK engine_rpc LABEL e2e)
  fulcrum_test(e2e_threads SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/threads_test.cpp LINK engine_core LABEL e2e)
  add_dependencies(e2e_threads fulcrum fulcrum-engine)
  fulcrum_test(e2e_device SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/device_test.cpp LINK engine_core LABEL e2e)
  add_library(fake_driver SHARED EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/e2e/fake_driver/cuda.cpp)
  set_target_properties(fake_driver PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/fake_driver
                        OUTPUT_NAME cuda SOVERSION 1)
  target_compile_definitions(e2e_device PRIVATE FULCRUM_FAKE_DRIVER="${CMAKE_BINARY_DIR}/tests/fake_driver")
  add_dependencies(e2e_device fulcrum fulcrum-engine fake_driver)
  # Not under a sanitizer, whose own memory is most of what a process has.
  if(NOT FULCRUM_SANITIZE)
    fulcrum_test(e2e_plan SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/plan_test.cpp LINK engine_core LABEL e2e)
    add_dependencies(e2e_plan fulcrum fulcrum-engine)
  endif()
  add_dependencies(e2e_tools fulcrum fulcrum-engine)
  add_dependencies(e2e_bad_input fulcrum fulcrum-engine)
endif()

# Made and run as on a machine that has nothing but torch; a sanitizer's programs are not what is carried there.
if(FULCRUM_TORCH AND NOT FULCRUM_SANITIZE)
  set(pack_test ${PROJECT_SOURCE_DIR}/tests/e2e/gpu_pack_test.cpp)
  set_source_files_properties(${pack_test} PROPERTIES COMPILE_DEFINITIONS "FULCRUM_TORCH_ROOT=\"${FULCRUM_TORCH_ROOT}\"")
  fulcrum_test(e2e_gpu_pack SOURCES ${pack_test} LINK engine_core LABEL e2e TIMEOUT 300 SERIAL)
  add_dependencies(e2e_gpu_pack fulcrum fulcrum-engine fulcrum-bench fulcrum-gpu-check)
  if(TARGET fulcrum_cuda)
    add_dependencies(e2e_gpu_pack fulcrum_cuda)
  endif()
endif()

fulcrum_test(e2e_bench SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/bench_test.cpp LINK engine_core LABEL e2e)

# One run against another that must give the same numbers: stopped and resumed, cut otherwise into micro-batches.
if(FULCRUM_TORCH)
  file(GLOB parity_tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/parity/*_test.cpp)
  fulcrum_test(parity_runs SOURCES ${parity_tests} LINK engine_pipeline LABEL parity)
endif()

if(FULCRUM_TORCH)
  foreach(name resume digit_completion every_method reward_model data_parallel)
    fulcrum_test(e2e_${name} SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/${name}_test.cpp LINK policy_weights LABEL e2e
                 TIMEOUT 300 SERIAL)
    add_dependencies(e2e_${name} fulcrum fulcrum-engine)
  endforeach()
  # Skips where there are not two GPUs.
  fulcrum_test(e2e_data_parallel_gpu SOURCES ${PROJECT_SOURCE_DIR}/tests/e2e/data_parallel_gpu_test.cpp
               LINK policy_weights engine_kernels LABEL e2e TIMEOUT 900 SERIAL GPU)
  add_dependencies(e2e_data_parallel_gpu fulcrum fulcrum-engine)
  if(TARGET fulcrum_cuda)
    add_dependencies(e2e_data_parallel_gpu fulcrum_cuda)
  endif()
endif()
