// How bf16 weights that a worker holds become newer ones, as the bytes that travel: the differences between
// the versions (engine/publish/delta.h) one behind another, in chunks. The layout is
// proto/fulcrum/v1/weights.proto.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/status.h"
#include "fulcrum/v1/weights.pb.h"

namespace fulcrum {

// The learner's side. Immutable, thread-safe.
class WeightUpdate {
 public:
  WeightUpdate(int64_t base_weights_id, uint64_t base_hash,
               std::span<const std::shared_ptr<const std::string>> deltas);

  const v1::Update& description() const { return description_; }
  int64_t num_chunks() const;
  // kOutOfRange beyond the last.
  Result<v1::Chunk> chunk(int64_t index) const;

 private:
  v1::Update description_;
  std::vector<std::shared_ptr<const std::string>>
      deltas_;  // shared with whoever keeps them: nothing is copied
  int64_t size_ = 0;
};

// The worker's: collects chunks. The description is untrusted: lengths are checked before any memory is
// taken. Not thread-safe.
class UpdateAssembler {
 public:
  // kDataLoss if it is longer than `most` bytes or its lengths make no sense.
  static Result<UpdateAssembler> begin(v1::Update description, int64_t most);

  // Chunks come in order; a broken transfer goes on from next_chunk().
  int64_t next_chunk() const { return next_; }
  int64_t end_chunk() const { return end_; }
  bool complete() const { return next_ == end_; }
  // kDataLoss: the checksum, the index or the length is wrong.
  Status add(const v1::Chunk& chunk);
  // After complete().
  std::vector<std::string_view> deltas() const;

 private:
  v1::Update description_;
  std::string bytes_;
  int64_t size_ = 0, next_ = 0, end_ = 0;
};

}  // namespace fulcrum
