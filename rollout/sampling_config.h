// The keys of sampling, under TRL's names. Torch-free.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/config.h"
#include "engine/types/rollout.h"
#include "policy/decode/decode_dtype.h"

namespace fulcrum {

// The smallest temperature beside 0 (greedy): below it logits / temperature overflows a float, or differences
// between logits that are rounding errors decide.
inline constexpr double kMinTemperature = 1e-6;
inline bool is_temperature(double value) { return value == 0 || value >= kMinTemperature; }

struct SamplingConfig {
  int64_t num_generations = 8;
  double temperature = 1.0;
  double top_p = 1.0;
  int64_t top_k = 0;
  double min_p = 0.0;
  int64_t max_completion_length = 256;
  std::vector<std::string> stop;
  int64_t rollout_max_batch = 64;
  int64_t rollout_threads = 1;
  std::string rollout_dtype = "float32";
  std::string rollout_device = "auto";

  void visit(ConfigVisitor& v) {
    v.field("num_generations", num_generations, at_least(1),
            "completions of one prompt: the size of a group");
    v.field("temperature", temperature, at_least(0),
            "logits are divided by it before a token is drawn, at least 1e-6; generate, eval: or 0, greedy");
    v.field("top_p", top_p, above_up_to(0, 1),
            "draw from the smallest set of likeliest tokens whose probability reaches it; 1: off");
    v.field("top_k", top_k, at_least(0), "draw from this many likeliest tokens; 0: off");
    v.field("min_p", min_p, between(0, 1),
            "draw from tokens at least this times as likely as the likeliest; 0: off");
    v.field("max_completion_length", max_completion_length, at_least(1), "tokens of a completion at most");
    v.field("stop", stop, "texts that end a completion; they stay in it");
    v.field("rollout_max_batch", rollout_max_batch, at_least(1),
            "sequences generated at a time; changes speed and memory, never a result");
    v.field("rollout_threads", rollout_threads, between(1, 1024),
            "threads that generate; changes speed, never a result");
    v.field("rollout_device", rollout_device, Choices{{"auto", "cpu", "cuda"}},
            "where this process generates; auto: on a GPU where there is one that can be used. Workers have "
            "--device");
    v.field(
        "rollout_dtype", rollout_dtype, Choices{decode_dtype_names()},
        "type that generates; bfloat16 is faster and draws by weights rounded to it: with 'dtype' bfloat16 "
        "the learner trains on the same values");
  }

  SamplingParams params() const {
    SamplingParams p;
    p.temperature = temperature;
    p.top_k = top_k;
    p.top_p = top_p;
    p.min_p = min_p;
    p.max_completion_length = max_completion_length;
    p.stop = stop;
    return p;
  }
};

}  // namespace fulcrum
