// Content hashes: how models, tokenizers, data, configs and checkpoints are named and verified.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/core/files.h"

namespace fulcrum {

// SHA-256, incremental. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view bytes);
  // 64 lower-case hexadecimal digits; the object is spent afterwards.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view bytes);
Result<std::string> sha256_file(const Path& path);

// CRC-32C (Castagnoli), as used by TensorBoard's record format and by weight chunks.
uint32_t crc32c(std::string_view bytes);

// 64 bits at the speed of the memory: whether a worker's weights are the learner's. Tells mistakes apart, not
// somebody who builds a second text of the same hash.
uint64_t hash64(std::span<const std::byte> bytes);

}  // namespace fulcrum
