// One operation of the product, done again each time it is asked for. Made by the op's function from the
// options that the bench passes as JSON; called by main.cpp. One thread.
#pragma once

#include <functional>

#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum::bench {

// Does the work once. What it returns is printed beside the seconds.
using Once = std::function<Result<Json>()>;
// Calls `serve` with the work once everything is loaded; returns when serve does.
using Serve = std::function<Status(const Once&)>;

// {model, device, dtype, threads, new_tokens, prompts: [[ids]], or made: {count, length}, generations: 1
// without, greedy}: sampled decoding of forced length.
Status decode(const Json& options, const Serve& serve);
// {job, folder}: each time one step of the job, rollouts and publishing included.
Status job_steps(const Json& options, const Serve& serve);

// {inputs, kind: encode or apply}: what has changed of bf16 weights, found, or applied and checked.
Status publish(const Json& options, const Serve& serve);

// {inputs, or made: {tokens, hidden, vocabulary, weight_scale, coefficient: random without}
// and device; kind: loss or divergence, dtype, divergence, threads, chunk, targets: all without,
// forward_only}: forward and backward of the output head.
Status head(const Json& options, const Serve& serve);

// {weights, gradients, or made: [shape, ...] and device; threads, learning_rate, weight_decay}: the norm of
// all gradients, clipped to 1, and one update of AdamW.
Status optimizer(const Json& options, const Serve& serve);

// {model, device, dtype, threads, trainer: sft or dpo, rows: {count, prompt, completion}, max_tokens, chunk,
// learning_rate, recompute}: one step of the learner on packed rows of these many tokens; of dpo a row has
// two completions.
Status train(const Json& options, const Serve& serve);

// {model, device, threads}: the mean of two models in memory, as a moving reference takes up half of the
// policy. The second is the model times two.
Status average(const Json& options, const Serve& serve);

// {threads}: the peaks of this machine, operations and bytes a second.
Status ceiling(const Json& options, const Serve& serve);

}  // namespace fulcrum::bench
