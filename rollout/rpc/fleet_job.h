// What a job tells the fleet of workers about itself. No generated header, so that programs may have it
// beside LibTorch's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "engine/core/clock.h"
#include "engine/core/files.h"
#include "engine/core/status.h"
#include "engine/rpc/tokenizer_files.h"
#include "engine/types/rollout.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

struct FleetJobOptions {
  int64_t vocab_size = 0;  // tokens at or beyond it are a worker's lie
  // The text of tokens; another one is a worker's lie. Null: texts are believed. Thread-safe.
  std::function<std::string(std::span<const TokenId>)> text_of;
  std::shared_ptr<const TokenizerFiles> tokenizer;
  int64_t kept_versions = 2;  // max_staleness + 1, at least 1
  bool deterministic = true;  // only workers that compute the same bits
  std::string fingerprint;    // whose bits; empty: the first worker's
  DType dtype = DType::kF32;  // that generates: kF32 or kBF16; weights travel in it
  Duration lease = std::chrono::seconds(300);
  Duration heartbeat = std::chrono::seconds(15);  // a worker silent for longer has lost its leases
  // Called on the thread of generate() when no worker is left to generate (true) and when one is back
  // (false).
  std::function<void(bool waiting)> on_waiting;
  // Called there too when a worker fails at a batch, once for each worker and reason: it comes back and tries
  // again, and where all of them fail again and again generate() gives up.
  std::function<void(const std::string& what)> on_failure;
};

// The files a worker needs to make the same tokenizer (Tokenizer::files(), content_hash()); `splitter` as the
// job names it.
Result<std::shared_ptr<const TokenizerFiles>> read_tokenizer_files(std::span<const Path> files,
                                                                   const std::string& hash,
                                                                   const std::string& splitter);

}  // namespace fulcrum
