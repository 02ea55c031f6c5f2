// A published set of weights as the bytes that travel: manifest and chunks on the learner's side, and the
// assembler that makes a WeightSet of them on the worker's. The layout is proto/fulcrum/v1/weights.proto.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/rpc/tokenizer_files.h"
#include "fulcrum/v1/weights.pb.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// Immutable, thread-safe. Holds the weights, copies nothing until a chunk is asked for.
class WeightImage {
 public:
  WeightImage(int64_t weights_id, std::shared_ptr<const WeightSet> weights,
              std::shared_ptr<const TokenizerFiles> tokenizer);
  // The same weights rounded to bf16, side by side in one buffer, which is what deltas are made of.
  static Result<std::shared_ptr<const WeightImage>> in_bf16(int64_t weights_id, const WeightSet& weights,
                                                            std::shared_ptr<const TokenizerFiles> tokenizer);

  const v1::Manifest& manifest() const { return manifest_; }
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

  // After complete(). Tensors share one buffer.
  Result<std::shared_ptr<const WeightSet>> weights() const;
  // Without its files if they were not asked for.
  TokenizerFiles tokenizer() const;

 private:
  explicit WeightAssembler(v1::Manifest manifest) : manifest_(std::move(manifest)) {}
  Status check_layout() const;

  v1::Manifest manifest_;
  ModelSpec spec_;
  std::shared_ptr<std::vector<std::byte>> bytes_;
  int64_t next_ = 0, end_ = 0;
};

}  // namespace fulcrum
