#include "engine/rpc/weight_update.h"

#include <algorithm>
#include <new>

#include "engine/core/hash.h"
#include "engine/rpc/limits.h"

namespace fulcrum {
namespace {

int64_t chunks_of(int64_t bytes) { return (bytes + kWeightChunkBytes - 1) / kWeightChunkBytes; }

}  // namespace

WeightUpdate::WeightUpdate(int64_t base_weights_id, uint64_t base_hash,
                           std::span<const std::shared_ptr<const std::string>> deltas)
    : deltas_(deltas.begin(), deltas.end()) {
  description_.set_base_weights_id(base_weights_id);
  description_.set_base_hash(base_hash);
  for (const auto& delta : deltas) {
    description_.add_delta_bytes(static_cast<int64_t>(delta->size()));
    size_ += static_cast<int64_t>(delta->size());
  }
}

int64_t WeightUpdate::num_chunks() const { return chunks_of(size_); }

Result<v1::Chunk> WeightUpdate::chunk(int64_t index) const {
  if (index < 0 || index >= num_chunks()) {
    return Status(Code::kOutOfRange, "there is no chunk " + std::to_string(index) + ": the update has " +
                                         std::to_string(num_chunks()));
  }
  v1::Chunk chunk;
  chunk.set_index(index);
  auto begin = static_cast<size_t>(index * kWeightChunkBytes);
  std::string& data = *chunk.mutable_data();
  for (const auto& delta : deltas_) {
    if (begin < delta->size() && data.size() < kWeightChunkBytes) {
      data.append(*delta, begin, kWeightChunkBytes - data.size());
      begin = 0;
    } else {
      begin -= std::min(begin, delta->size());
    }
  }
  chunk.set_crc32c(crc32c(chunk.data()));
  return chunk;
}

Result<UpdateAssembler> UpdateAssembler::begin(v1::Update description, int64_t most) {
  UpdateAssembler assembler;
  for (const int64_t bytes : description.delta_bytes()) {
    if (bytes <= 0 || bytes > most - assembler.size_)
      return data_loss("the update of the weights contradicts itself");
    assembler.size_ += bytes;
  }
  assembler.description_ = std::move(description);
  assembler.end_ = chunks_of(assembler.size_);
  try {
    assembler.bytes_.reserve(static_cast<size_t>(assembler.size_));
  } catch (const std::bad_alloc&) {
    return resource_exhausted("no memory for an update of " + std::to_string(assembler.size_ >> 20) + " MiB");
  }
  return assembler;
}

Status UpdateAssembler::add(const v1::Chunk& chunk) {
  if (chunk.index() != next_ || complete()) {
    return data_loss("update: chunk " + std::to_string(chunk.index()) + " came where " +
                     std::to_string(next_) + " was due");
  }
  const int64_t due = std::min(kWeightChunkBytes, size_ - next_ * kWeightChunkBytes);
  if (static_cast<int64_t>(chunk.data().size()) != due || crc32c(chunk.data()) != chunk.crc32c())
    return data_loss("update: chunk " + std::to_string(chunk.index()) + " is damaged");
  bytes_ += chunk.data();
  ++next_;
  return ok_status();
}

std::vector<std::string_view> UpdateAssembler::deltas() const {
  std::vector<std::string_view> out;
  std::string_view rest = bytes_;
  for (const int64_t bytes : description_.delta_bytes()) {
    out.push_back(rest.substr(0, static_cast<size_t>(bytes)));
    rest.remove_prefix(out.back().size());
  }
  return out;
}

}  // namespace fulcrum
