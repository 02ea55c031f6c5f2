#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/pipeline/plan/memory.h"
#include "engine/pipeline/plan/time.h"
#include "engine/pipeline/plan/workload.h"

namespace fulcrum {
namespace {

ModelSpec small_spec() {
  ModelSpec s;
  s.vocab_size = 128;
  s.hidden_size = 64;
  s.intermediate_size = 192;
  s.num_hidden_layers = 3;
  s.num_attention_heads = 4;
  s.num_key_value_heads = 2;
  s.head_dim = 16;
  s.max_position_embeddings = 512;
  return s;
}

// Four prompts of ten tokens, eight completions of 50 each.
class Plan : public ::testing::Test {
 protected:
  Plan() {
    config_.objective.trainer = "grpo";
    config_.data.prompts_per_step = 4;
    config_.sampling.num_generations = 8;
    config_.sampling.max_completion_length = 50;
    rows_.resize(4);
    for (DataRow& row : rows_) row.prompt.ids.assign(10, 1);
  }
  Workload work() const {
    std::vector<const DataRow*> rows;
    for (const DataRow& row : rows_) rows.push_back(&row);
    return workload_of(config_, spec_, needs_, rows, config_.sampling.max_completion_length);
  }
  static int64_t bytes(const MemoryPlan& plan, const std::string& name) {
    const auto at =
        std::find_if(plan.parts.begin(), plan.parts.end(), [&](const auto& p) { return p.name == name; });
    return at == plan.parts.end() ? 0 : at->bytes;
  }
  int64_t bytes(const std::string& name) const { return bytes(plan_memory(work(), {}), name); }
  int64_t peak() const { return plan_memory(work(), {}).host.bytes; }

  ModelSpec spec_ = small_spec();
  JobConfig config_;
  Needs needs_;
  std::vector<DataRow> rows_;
};

TEST_F(Plan, TheBatchIsCutAsTheLearnerCutsIt) {
  const Workload whole = work();
  EXPECT_EQ(whole.prompts, 4);
  EXPECT_EQ(whole.sequences, 32);
  EXPECT_EQ(whole.prompt_tokens, 40);
  EXPECT_EQ(whole.completion_tokens, 1600);
  ASSERT_EQ(whole.micro_batches.size(), 1u);
  EXPECT_EQ(whole.micro_batches[0].tokens, 1640) << "a shared prompt counts once";
  EXPECT_EQ(whole.micro_batches[0].targets, 1600);
  config_.learner.max_tokens_per_micro_batch = 820;  // two groups of 10 + 8 * 50
  EXPECT_EQ(work().micro_batches.size(), 2u);
  config_.learner.max_tokens_per_micro_batch = 210;  // half a group, with its prompt
  EXPECT_EQ(work().micro_batches.size(), 8u);
  EXPECT_EQ(work().tokens(), 1680);
}

TEST_F(Plan, CompletionsEndWhereTheModelHasNoMorePositions) {
  rows_[0].prompt.ids.assign(500, 1);
  EXPECT_EQ(work().completion_tokens, 3 * 8 * 50 + 8 * 12);
}

TEST_F(Plan, PreferencesArePairsOverOnePrompt) {
  config_.objective.trainer = "dpo";
  needs_.pairs = needs_.reference_logps = true;
  for (DataRow& row : rows_) row.completion.assign(20, 1), row.rejected.assign(30, 1);
  const Workload w = work();
  EXPECT_EQ(w.sequences, 0) << "nothing is generated";
  EXPECT_EQ(w.tokens(), 4 * 60);
  EXPECT_EQ(w.targets(), 4 * 50);
  EXPECT_TRUE(w.reference_model);
  config_.reference.precompute_ref_log_probs = true;
  EXPECT_FALSE(work().reference_model);
}

// 2 V D of embedding and head, of each layer D (2 A + 2 K + 3 F) and two norms, the final norm.
TEST_F(Plan, WeightsGradientsAndMomentsAreWhatTheyMustBe) {
  const int64_t weights = 2 * 128 * 64 + 3 * (64 * (2 * 64 + 2 * 32 + 3 * 192) + 2 * 64) + 64;
  EXPECT_EQ(parameter_count(small_spec()), weights);
  EXPECT_EQ(bytes("weights"), 4 * weights);
  EXPECT_EQ(bytes("gradients"), 4 * weights);
  EXPECT_EQ(bytes("optimizer moments"), 8 * weights);
  EXPECT_EQ(bytes("published weights"), 4 * weights);
  EXPECT_EQ(bytes("checkpoint copies"), 16 * weights);
  EXPECT_EQ(bytes("reference"), 0);
  EXPECT_EQ(bytes("weights to go back to"), 0);
  needs_.reference_logps = true;
  config_.objective.num_iterations = 2;
  EXPECT_EQ(bytes("reference"), 4 * weights);
  EXPECT_EQ(bytes("weights to go back to"), 12 * weights);
}

TEST_F(Plan, VersionsInBf16AreHalfAndTheLastOneLiesOnTheDeviceToo) {
  const int64_t weights = parameter_count(small_spec());
  config_.sampling.rollout_dtype = "bfloat16";
  config_.max_staleness = 1;
  EXPECT_EQ(bytes("published weights"), 2 * 2 * weights);
  EXPECT_EQ(bytes("last version, rounded"), 0) << "on the CPU";
  Workload there = work();
  there.on_device = true;
  EXPECT_EQ(bytes(plan_memory(there, {}), "last version, rounded"), 2 * weights);
  there.config.sampling.rollout_dtype = "float32";
  EXPECT_EQ(bytes(plan_memory(there, {}), "last version, rounded"), 0);
}

// Of a token in a layer: 2 D, q k v, the attention's output, a log-sum-exp a head, 2 F.
TEST_F(Plan, ActivationsAreWhatAutogradKeeps) {
  const int64_t layer = 4 * (2 * 64 + 128 + 64 + 4 + 2 * 192);
  const int64_t around = 1640 * 2 * 4 * 64 + 1600 * 2 * 4 * 64;
  EXPECT_EQ(bytes("activations"), 1640 * 3 * layer + around);
  config_.learner.gradient_checkpointing = true;
  EXPECT_EQ(bytes("activations"), 1640 * 3 * 4 * 64 + around) << "each layer's input alone";
}

TEST_F(Plan, SmallerMicroBatchesAndChunksNeedLess) {
  needs_.divergence = true;  // two buffers of [chunk, V]
  spec_.vocab_size = 4096;
  rows_.resize(1);
  config_.learner.logits_chunk = 1000;  // of 400 targets
  const int64_t before = peak();
  EXPECT_EQ(bytes("logits"), 2 * 4 * 400 * 4096);
  config_.learner.logits_chunk = 200;
  EXPECT_EQ(bytes("logits"), 2 * 4 * 200 * 4096);
  EXPECT_LT(peak(), before);
  config_.learner.max_tokens_per_micro_batch = 100;
  EXPECT_LT(peak(), before);
}

// policy/nn/head_memory.h.
TEST_F(Plan, TheHeadKeepsItsRoomBetweenStepsOnTheCpuAlone) {
  const auto generating = [&](const Workload& w, const std::string& name) {
    for (const MemoryPart& part : plan_memory(w, {}).parts) {
      if (part.name == name) return (part.phases & static_cast<unsigned>(Phase::kGenerate)) != 0;
    }
    ADD_FAILURE() << "no part " << name;
    return false;
  };
  Workload w = work();
  for (const char* name : {"logits", "gradient of the head"}) EXPECT_TRUE(generating(w, name)) << name;
  w.on_device = true;
  for (const char* name : {"logits", "gradient of the head"}) EXPECT_FALSE(generating(w, name)) << name;
}

TEST_F(Plan, OlderVersionsAndLargerBatchesOfTheDecoderNeedMore) {
  const int64_t model = bytes("decode model"), cache = bytes("KV cache");
  // All matrices but the embedding; these fill their panels of 64 outputs.
  EXPECT_EQ(model, 4 * (128 * 64 + 3 * 64 * (2 * 64 + 2 * 32 + 3 * 192)));
  config_.max_staleness = 2;
  EXPECT_EQ(bytes("decode model"), 3 * model);
  config_.sampling.rollout_max_batch = 8;
  EXPECT_LT(bytes("KV cache"), cache);
  // One group: 16 positions are a page of 2 heads of 16 + 16 numbers in 3 layers; 60 positions a sequence.
  EXPECT_EQ(bytes("KV cache"), 4 * 3 * 2 * 16 * 32 * (1 + 8 * 4));
}

TEST_F(Plan, ThePeakIsTheHeaviestPhaseAndHoldsWhatIsAlwaysThere) {
  const MemoryPlan plan = plan_memory(work(), {.process = 1000, .data = 100, .model_file = 10});
  int64_t sum = 0;
  for (const MemoryPart& part : plan.parts) {
    if ((part.phases & static_cast<unsigned>(plan.host.phase)) != 0) sum += part.bytes;
  }
  EXPECT_EQ(plan.host.bytes, sum);
  EXPECT_EQ(plan.host.bytes, peak() + 1100);
  EXPECT_EQ(plan.host.phase, Phase::kBackward) << "1,640 tokens outweigh a tiny model";
  rows_.resize(1);
  config_.sampling.max_completion_length = 2;
  EXPECT_EQ(plan_memory(work(), {}).host.phase, Phase::kCheckpoint);
}

TEST_F(Plan, WhatCanBeMadeSmallerIsNamedLargestFirst) {
  const MemoryPlan plan = plan_memory(work(), {.process = 1 << 30, .data = 0, .model_file = 0});
  const std::vector<MemoryPart> parts = reducible(plan, Place::kHost);
  ASSERT_GE(parts.size(), 2u);
  EXPECT_EQ(parts[0].name, "activations");
  EXPECT_EQ(parts[0].keys, "max_tokens_per_micro_batch, gradient_checkpointing");
  for (size_t i = 1; i < parts.size(); ++i) EXPECT_LE(parts[i].bytes, parts[i - 1].bytes);
  for (const MemoryPart& part : parts) {
    EXPECT_TRUE(at_peak(plan, part));
    EXPECT_NE(part.name, "process") << "no key makes it smaller";
    EXPECT_NE(part.name, "KV cache") << "is gone when the learner works";
  }
}

TEST_F(Plan, AStepIsItsCountsTimesTheSpeeds) {
  const Speeds s{.layers_forward = 1,
                 .layers_train = 10,
                 .head_forward = 100,
                 .head_train = 1000,
                 .update = 1e6,
                 .publish = 1e7,
                 .prefill = 0.5,
                 .decode = 2,
                 .sample = 1};
  const double generate = 40 * 0.5 + 1600 * 3, train = 1640 * 10 + 1600 * 1000;
  EXPECT_DOUBLE_EQ(plan_time(work(), s).step, generate + train + 1e6 + 1e7);
  needs_.reference_logps = true;
  const double reference = 1640 + 1600 * 100;
  EXPECT_DOUBLE_EQ(plan_time(work(), s).step, generate + reference + train + 1e6 + 1e7);
  config_.objective.num_iterations = 3;
  EXPECT_DOUBLE_EQ(plan_time(work(), s).step, generate + reference + 3 * train + 3e6 + 1e7);
  config_.max_staleness = 1;
  EXPECT_DOUBLE_EQ(plan_time(work(), s).step, reference + 3 * train + 3e6 + 1e7)
      << "generation runs beside it";
}

TEST_F(Plan, ASeparateCriticIsASecondModel) {
  config_.objective.trainer = "ppo";
  const int64_t moments = bytes("optimizer moments");
  const double before = plan_time(work(), {.layers_train = 1}).step;
  needs_.values = true;
  EXPECT_EQ(bytes("optimizer moments"), 2 * moments);
  EXPECT_EQ(bytes("critic"), bytes("weights"));
  EXPECT_DOUBLE_EQ(plan_time(work(), {.layers_train = 1}).step, 2 * before);
}

// What lies where is counted apart: a GPU holds the learner, the host the rollouts and the checkpoint.
TEST_F(Plan, OnAGpuTheLearnersMemoryIsTheGpus) {
  Workload w = work();
  const MemoryPlan here = plan_memory(w, {.process = 1000});
  w.on_device = true;
  const MemoryPlan there = plan_memory(w, {.process = 1000});
  EXPECT_EQ(here.device.bytes, 0);
  EXPECT_GT(there.device.bytes, 0);
  EXPECT_EQ(there.device.phase, Phase::kBackward);
  EXPECT_LT(there.host.bytes, here.host.bytes);
  int64_t moved = 0;
  for (const MemoryPart& part : there.parts) {
    if (part.place == Place::kDevice && at_peak(there, part)) moved += part.bytes;
    EXPECT_NE(part.name, "heap between tensors");
  }
  EXPECT_EQ(moved, there.device.bytes);
  EXPECT_THAT(memory_advice(there, Place::kDevice), ::testing::HasSubstr("max_tokens_per_micro_batch"));
  EXPECT_THAT(memory_advice(there, Place::kHost), ::testing::Not(::testing::HasSubstr("logits_chunk")));
}

// What a GPU generates with is the GPU's: the model in its type, pages and buffers; the host keeps tensors.
TEST_F(Plan, WhereAGpuGeneratesTheDecoderIsThere) {
  const std::vector<std::string> names = {"decode model", "KV cache", "decoder buffers"};
  const auto of_phase = [](const MemoryPlan& plan, Place place, Phase phase) {
    int64_t sum = 0;
    for (const MemoryPart& part : plan.parts)
      sum += part.place == place && (part.phases & static_cast<unsigned>(phase)) != 0 ? part.bytes : 0;
    return sum;
  };
  Workload w = work();
  const MemoryPlan here = plan_memory(w, {});
  w.on_device = true;
  const MemoryPlan learns_there = plan_memory(w, {});
  w.generates_on_device = true;
  const MemoryPlan there = plan_memory(w, {});
  int64_t generator = 0;
  for (const MemoryPart& part : there.parts) {
    const bool is_generators = std::find(names.begin(), names.end(), part.name) != names.end();
    if (is_generators) {
      generator += part.bytes;
      EXPECT_EQ(part.place, Place::kDevice) << part.name;
    }
    EXPECT_NE(part.name, "next version") << "the old one goes first";
  }
  EXPECT_EQ(of_phase(there, Place::kDevice, Phase::kGenerate),
            of_phase(learns_there, Place::kDevice, Phase::kGenerate) + generator);
  EXPECT_EQ(bytes(there, "published weights"), bytes(here, "published weights"));

  // Matrices of 4 or 2 bytes a weight, norms of 4; 60 positions are 4 pages of 16, and so much for 32.
  const int64_t weights = parameter_count(small_spec());
  EXPECT_NEAR(static_cast<double>(bytes(there, "decode model")), 4.0 * static_cast<double>(weights), 4096);
  const int64_t page = 3 * 2 * 2 * 16 * 16;
  EXPECT_EQ(bytes(there, "KV cache"), 4 * page * (32 * 4 + 1));
  EXPECT_GT(bytes(there, "decoder buffers"), 4 * 33 * 128) << "logits of each";
  w.config.sampling.rollout_dtype = "bfloat16";
  const MemoryPlan bf16 = plan_memory(w, {});
  EXPECT_NEAR(static_cast<double>(bytes(bf16, "decode model")), 2.0 * static_cast<double>(weights), 4096);
  EXPECT_EQ(bytes(bf16, "KV cache"), 2 * page * (32 * 4 + 1));

  // With staleness several are there, one more while the next is published, and all while the learner works.
  w.config.max_staleness = 1;
  const MemoryPlan stale = plan_memory(w, {});
  EXPECT_EQ(bytes(stale, "decode model"), 2 * bytes(bf16, "decode model"));
  EXPECT_EQ(bytes(stale, "next version"), bytes(bf16, "decode model"));
  EXPECT_GT(of_phase(stale, Place::kDevice, Phase::kBackward),
            of_phase(bf16, Place::kDevice, Phase::kBackward) + bytes(stale, "KV cache"));
}

TEST_F(Plan, AGpuMayGenerateForALearnerOnTheCpu) {
  Workload w = work();
  w.generates_on_device = true;
  const MemoryPlan plan = plan_memory(w, {});
  EXPECT_EQ(plan.device.phase, Phase::kGenerate);
  EXPECT_EQ(plan.device.bytes,
            bytes(plan, "decode model") + bytes(plan, "KV cache") + bytes(plan, "decoder buffers"));
  EXPECT_THAT(memory_advice(plan, Place::kDevice), ::testing::HasSubstr("rollout_max_batch"));
}

}  // namespace
}  // namespace fulcrum
