// The keys of the optimizer and the learner's guards, under TRL's names. Torch-free.
#pragma once

#include <cstdint>
#include <string>

#include "engine/core/config.h"
#include "engine/learner/critic_config.h"

namespace fulcrum {

struct LearnerConfig {
  double learning_rate = 1e-6;
  std::string lr_scheduler_type = "constant";
  int64_t warmup_steps = 0;
  double weight_decay = 0.0;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;
  int64_t max_tokens_per_micro_batch = 16384;
  int64_t logits_chunk = 1024;
  bool gradient_checkpointing = false;
  std::string dtype = "float32";
  std::string device = "auto";
  int64_t threads = 1;
  int64_t max_skipped_steps = 3;
  int64_t max_zero_std_steps = 0;
  CriticConfig critic;

  void visit(ConfigVisitor& v) {
    v.field("learning_rate", learning_rate, at_least(0), "AdamW's peak learning rate");
    v.field("lr_scheduler_type", lr_scheduler_type, Choices{{"constant", "linear", "cosine"}},
            "learning rate after warm-up, over max_steps");
    v.field("warmup_steps", warmup_steps, at_least(0), "steps of linear warm-up from 0");
    v.field("weight_decay", weight_decay, at_least(0), "AdamW's decoupled weight decay (matrices only)");
    v.field("adam_beta1", adam_beta1, from_below(0, 1), "AdamW's first-moment decay");
    v.field("adam_beta2", adam_beta2, from_below(0, 1), "AdamW's second-moment decay");
    v.field("adam_epsilon", adam_epsilon, above(0), "AdamW's epsilon");
    v.field("max_grad_norm", max_grad_norm, at_least(0),
            "gradients are scaled down to this global norm; 0: off");
    v.field("max_tokens_per_micro_batch", max_tokens_per_micro_batch, at_least(1),
            "packed tokens a forward pass may hold; gradients add up exactly");
    v.field("logits_chunk", logits_chunk, at_least(1), "targets whose logits exist at a time");
    v.field("gradient_checkpointing", gradient_checkpointing,
            "recompute each layer in the backward pass to save memory");
    v.field("dtype", dtype, Choices{{"float32", "bfloat16"}},
            "type of the weights in the forward pass; the optimizer keeps fp32");
    v.field("device", device, Choices{{"auto", "cpu", "cuda"}},
            "where the models learn; auto: on a GPU where there is one that can be used");
    v.field("threads", threads, between(1, 1024),
            "CPU threads of the learner; bit-equal resume needs the same number");
    v.field("max_skipped_steps", max_skipped_steps, at_least(1),
            "steps in a row with a non-finite loss or gradient before the job stops");
    v.field("max_zero_std_steps", max_zero_std_steps, at_least(0),
            "steps in a row with no reward spread in any group before the job stops; 0: never");
    critic.visit(v);
  }
};

}  // namespace fulcrum
