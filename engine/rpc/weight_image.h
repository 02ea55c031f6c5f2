// A published set of weights as the bytes that travel: manifest and chunks on the learner's side, and the
// assembler that makes a WeightSet of them on the worker's. The layout is proto/fulcrum/v1/weights.proto.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/status.h"
#include "engine/publish/weight_set.h"
#include "engine/rpc/tokenizer_files.h"
#include "fulcrum/v1/weights.pb.h"

namespace fulcrum {

// Immutable, thread-safe. Holds the weights, copies nothing until a chunk is asked for.
class WeightImage {
 public:
  WeightImage(int64_t weights_id, std::shared_ptr<const WeightSet> weights,
              std::shared_ptr<const TokenizerFiles> tokenizer);
  // The same weights rounded to bf16, side by side in one buffer, which is what deltas are made of: the set's
  // own where it has them so.
  static Result<std::shared_ptr<const WeightImage>> in_bf16(int64_t weights_id, const WeightSet& weights,
                                                            std::shared_ptr<const TokenizerFiles> tokenizer);

  const v1::Manifest& manifest() const { return manifest_; }
  // All tensors, 0 between them, up to the tokenizer's chunk; empty unless made by in_bf16().
  std::span<const uint16_t> values() const {
    return weights_->flat ? std::span<const uint16_t>(*weights_->flat->values) : std::span<const uint16_t>();
  }
  // kOutOfRange beyond the last.
  Result<v1::Chunk> chunk(int64_t index) const;

 private:
  struct Piece {
    int64_t offset;
    std::span<const std::byte> bytes;
  };
  int64_t add(std::span<const std::byte> bytes, int64_t offset);

  std::shared_ptr<const WeightSet> weights_;
  std::shared_ptr<const TokenizerFiles> tokenizer_;
  v1::Manifest manifest_;
  std::vector<Piece> pieces_;  // in the order of their offsets
  int64_t size_ = 0;
};

// Collects chunks. The manifest is untrusted: names, shapes and offsets are checked before any memory is
// taken. Not thread-safe.
class WeightAssembler {
 public:
  // `with_tokenizer`: also the tokenizer's files, else only the tensors.
  static Result<WeightAssembler> begin(v1::Manifest manifest, bool with_tokenizer);

  // Chunks come in order; a broken transfer goes on from next_chunk().
  int64_t next_chunk() const { return next_; }
  bool complete() const { return next_ == end_; }
  // kDataLoss: the checksum, the index or the length is wrong.
  Status add(const v1::Chunk& chunk);

  const v1::Manifest& manifest() const { return manifest_; }
  // The hash that a manifest of bf16 weights gives of them; after complete().
  uint64_t tensors_hash() const;
  // kDataLoss: bf16 weights whose hash is not their manifest's.
  Status check_hash() const;
  bool in_bf16() const { return manifest_.tensors_size() > 0 && manifest_.tensors(0).dtype() == "BF16"; }
  // After complete(), of bf16 weights: they become those of `next` by differences. Weights that were handed
  // out before stay what they are. kDataLoss: of another layout, or what came out has not the hash that
  // `next` says; the assembler is unusable then.
  Status advance(v1::Manifest next, std::span<const std::string_view> deltas);

  // After complete(). Tensors share one buffer.
  Result<std::shared_ptr<const WeightSet>> weights() const;
  // Without its files if they were not asked for.
  TokenizerFiles tokenizer() const;

 private:
  explicit WeightAssembler(v1::Manifest manifest) : manifest_(std::move(manifest)) {}
  Status check_layout() const;
  size_t tensors_bytes() const;
  std::span<uint16_t> values() const;  // of bf16 weights

  v1::Manifest manifest_;
  ModelSpec spec_;
  std::shared_ptr<std::vector<std::byte>> bytes_;
  int64_t next_ = 0, end_ = 0;
};

}  // namespace fulcrum
