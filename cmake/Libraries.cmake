# Every library, in the order of the layers (docs/map.md walks the same order). A folder that does not exist yet is
# skipped by its absence here, not by a condition.

# Layer 0: std, JSON, logs.
fulcrum_library(engine/core LAYER 0 LINK nlohmann_json::nlohmann_json spdlog::spdlog OpenSSL::Crypto Threads::Threads)
fulcrum_library(engine/types LAYER 0 DEPENDS engine/core)

# Layer 1: one third-party library behind one .cpp each; no torch, no protobuf of our own.
fulcrum_library(policy/weights LAYER 1 DEPENDS engine/types)
fulcrum_library(policy/text LAYER 1 DEPENDS policy/weights LINK fulcrum_sentencepiece PkgConfig::UTF8PROC)
fulcrum_library(engine/divergence/generators LAYER 1 DEPENDS engine/core)
fulcrum_library(engine/kernels LAYER 1 SUBDIRS DEPENDS engine/core engine/divergence/generators LINK PkgConfig::HWY ${CMAKE_DL_LIBS})
target_compile_options(engine_kernels PRIVATE $<$<CONFIG:Release>:-O3>)  # sums must live in registers: full unrolling
set_source_files_properties(${PROJECT_SOURCE_DIR}/engine/kernels/row_divergence/op_avx2.cpp PROPERTIES
                            COMPILE_OPTIONS "-march=haswell;-maes")
set_source_files_properties(${PROJECT_SOURCE_DIR}/engine/kernels/row_divergence/op_avx512.cpp PROPERTIES
                            COMPILE_OPTIONS "-march=skylake-avx512;-maes")
fulcrum_library(engine/objective/config LAYER 1 DEPENDS engine/types engine/divergence/generators)
fulcrum_library(engine/data LAYER 1 DEPENDS engine/types policy/text)
fulcrum_library(reward/math LAYER 1 DEPENDS engine/core LINK ${FULCRUM_GMP})
fulcrum_library(reward LAYER 1 DEPENDS engine/types reward/math LINK PkgConfig::RE2)
fulcrum_library(engine/jobs LAYER 1 DEPENDS engine/core LINK SQLite::SQLite3)

# Higher layers that need no torch.
fulcrum_library(rollout/dispatch LAYER 3 DEPENDS engine/types)
fulcrum_library(policy/decode LAYER 2 SUBDIRS DEPENDS policy/weights engine/kernels)
fulcrum_library(engine/publish LAYER 3 DEPENDS policy/weights engine/kernels)
fulcrum_library(rollout LAYER 3 DEPENDS policy/decode policy/text engine/publish)

# Layer 4, the part a client needs: a job file and its checks.
fulcrum_library(engine/pipeline/config LAYER 4 DEPENDS engine/objective/config engine/data reward rollout)

fulcrum_library(engine/pipeline/plan LAYER 4 DEPENDS engine/pipeline/config policy/decode)

# Layer 5: the only rooms with protobuf and gRPC.
include(cmake/Protos.cmake)
fulcrum_protos()
fulcrum_library(engine/rpc LAYER 5 DEPENDS proto engine/jobs engine/publish LINK OpenSSL::Crypto)
target_link_libraries(engine_rpc PRIVATE prometheus-cpp::core PkgConfig::HTTPLIB)  # of metrics_endpoint.cpp alone
fulcrum_library(rollout/rpc LAYER 5 DEPENDS engine/rpc rollout rollout/dispatch)
fulcrum_library(reward/rpc LAYER 5 DEPENDS engine/rpc reward)

# Layer 6: what people type.
fulcrum_library(engine/cli LAYER 6 DEPENDS engine/pipeline/config engine/jobs engine/rpc rollout/rpc reward/rpc LINK CLI11::CLI11)
fulcrum_program(fulcrum engine/cli/main_fulcrum.cpp engine_cli)

if(NOT FULCRUM_TORCH)
  return()
endif()

# Layer 2: tensors.
fulcrum_library(engine/collective LAYER 2 DEPENDS engine/core engine/kernels LINK fulcrum_torch TEST_LINK tests_far_device)
set_source_files_properties(engine/collective/connect.cpp PROPERTIES COMPILE_DEFINITIONS USE_C10D_GLOO)
fulcrum_library(engine/divergence LAYER 2 DEPENDS engine/divergence/generators LINK fulcrum_torch)
fulcrum_library(policy/nn LAYER 2 DEPENDS policy/weights engine/data engine/kernels engine/divergence LINK fulcrum_torch)
set_source_files_properties(${PROJECT_SOURCE_DIR}/policy/nn/parallel.cpp PROPERTIES COMPILE_OPTIONS -fopenmp)
fulcrum_library(engine/objective LAYER 2 DEPENDS engine/objective/config engine/divergence LINK fulcrum_torch
                TEST_LINK engine_data)
fulcrum_library(engine/reference LAYER 2 DEPENDS policy/nn)

# Layer 3: who learns, and who judges with a model.
fulcrum_library(reward/model LAYER 3 DEPENDS reward policy/nn)
fulcrum_library(engine/learner LAYER 3 DEPENDS engine/objective engine/reference engine/collective engine/publish)

# Layer 4: the wiring.
fulcrum_library(engine/pipeline LAYER 4 DEPENDS engine/pipeline/config engine/pipeline/plan engine/learner engine/jobs rollout reward/model)

# Layer 6: the verbs that need LibTorch.
fulcrum_library(engine/cli/engine LAYER 6 SUBDIRS DEPENDS engine/cli engine/pipeline engine/pipeline/plan reward/rpc)
fulcrum_program(fulcrum-engine engine/cli/engine/main_engine.cpp engine_cli_engine)

# Our side of `./dev bench` where the start of a process must not be timed.
fulcrum_library(bench/ours LAYER 6 DEPENDS engine/pipeline)
fulcrum_program(fulcrum-bench bench/ours/main.cpp bench_ours)

# What tools/gpu_check packs: a device beside the CPU. Not part of what users install.
fulcrum_library(bench/gpu LAYER 6 DEPENDS engine/learner engine/collective engine/publish rollout LINK CLI11::CLI11)
fulcrum_program(fulcrum-gpu-check bench/gpu/main.cpp bench_gpu)
