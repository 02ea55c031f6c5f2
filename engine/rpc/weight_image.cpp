#include "engine/rpc/weight_image.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include "engine/core/hash.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/kernels/aligned.h"
#include "engine/publish/delta.h"
#include "engine/publish/flat_weights.h"
#include "engine/rpc/convert.h"
#include "engine/rpc/limits.h"

namespace fulcrum {
namespace {

using kernels::round_up;

static_assert(kFlatMultiple == kWeightChunkBytes);  // the tokenizer begins a chunk
constexpr int64_t kMaxImageBytes = int64_t{1} << 42;
constexpr int64_t kMaxTokenizerBytes = int64_t{256} << 20;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// A name that is a file in the folder it is put into, and nothing else.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

}  // namespace

WeightImage::WeightImage(int64_t weights_id, std::shared_ptr<const WeightSet> weights,
                         std::shared_ptr<const TokenizerFiles> tokenizer)
    : weights_(std::move(weights)), tokenizer_(std::move(tokenizer)) {
  manifest_.set_weights_id(weights_id);
  *manifest_.mutable_version() = to_wire(weights_->version);
  manifest_.set_model_config_json(dump_json(model_config_json(weights_->spec)));
  for (const auto& [name, tensor] : weights_->tensors) {
    v1::TensorEntry& entry = *manifest_.add_tensors();
    entry.set_name(name);
    entry.set_dtype(std::string(dtype_name(tensor.dtype)));
    entry.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
    entry.set_offset(add(tensor.bytes, round_up(size_, kFlatAlignment)));
    entry.set_bytes(static_cast<int64_t>(tensor.bytes.size()));
  }
  size_ = round_up(size_, kWeightChunkBytes);
  manifest_.set_tokenizer_chunk(size_ / kWeightChunkBytes);
  for (const auto& [name, text] : tokenizer_->files) {
    v1::FileEntry& entry = *manifest_.add_tokenizer_files();
    entry.set_name(name);
    entry.set_offset(add(bytes_of(text), size_));
    entry.set_bytes(static_cast<int64_t>(text.size()));
  }
  manifest_.set_tokenizer_hash(tokenizer_->hash);
  manifest_.set_tokenizer_splitter(tokenizer_->splitter);
  manifest_.set_tokenizer_entry(tokenizer_->entry);
  manifest_.set_chunk_bytes(kWeightChunkBytes);
  manifest_.set_num_chunks(round_up(size_, kWeightChunkBytes) / kWeightChunkBytes);
}

Result<std::shared_ptr<const WeightImage>> WeightImage::in_bf16(
    int64_t weights_id, const WeightSet& weights, std::shared_ptr<const TokenizerFiles> tokenizer) {
  auto rounded = std::make_shared<WeightSet>(WeightSet{weights.version, weights.spec, {}, weights.flat});
  if (rounded->flat == nullptr) {
    TRY(flat, flatten_to_bf16(weights.tensors));
    rounded->flat = std::make_shared<const FlatWeights>(std::move(flat));
  }
  rounded->tensors = rounded->flat->tensors;
  const uint64_t hash = rounded->flat->hash;
  auto image = std::make_shared<WeightImage>(weights_id, std::move(rounded), std::move(tokenizer));
  image->manifest_.set_tensors_hash(hash);
  return std::shared_ptr<const WeightImage>(std::move(image));
}

int64_t WeightImage::add(std::span<const std::byte> bytes, int64_t offset) {
  pieces_.push_back({offset, bytes});
  size_ = offset + static_cast<int64_t>(bytes.size());
  return offset;
}

// Every chunk is whole; what no piece covers is zero.
Result<v1::Chunk> WeightImage::chunk(int64_t index) const {
  if (index < 0 || index >= manifest_.num_chunks()) {
    return Status(Code::kOutOfRange, "there is no chunk " + std::to_string(index) + ": the weights have " +
                                         std::to_string(manifest_.num_chunks()));
  }
  const int64_t begin = index * kWeightChunkBytes, end = begin + kWeightChunkBytes;
  std::string data(static_cast<size_t>(kWeightChunkBytes), '\0');
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), begin,
                                [](int64_t at, const Piece& p) { return at < p.offset; });
  if (piece != pieces_.begin()) --piece;
  for (; piece != pieces_.end() && piece->offset < end; ++piece) {
    const int64_t from = std::max(begin, piece->offset);
    const int64_t to = std::min(end, piece->offset + static_cast<int64_t>(piece->bytes.size()));
    if (from < to) {
      std::memcpy(data.data() + (from - begin), piece->bytes.data() + (from - piece->offset),
                  static_cast<size_t>(to - from));
    }
  }
  v1::Chunk chunk;
  chunk.set_index(index);
  chunk.set_crc32c(crc32c(data));
  chunk.set_data(std::move(data));
  return chunk;
}

Result<WeightAssembler> WeightAssembler::begin(v1::Manifest manifest, bool with_tokenizer) {
  WeightAssembler assembler(std::move(manifest));
  TRY(config, parse_json(assembler.manifest_.model_config_json()));
  TRY(spec, parse_model_config(config));
  assembler.spec_ = spec;
  TRY_DO(assembler.check_layout());
  assembler.end_ = with_tokenizer ? assembler.manifest_.num_chunks() : assembler.manifest_.tokenizer_chunk();
  const auto size = static_cast<size_t>(assembler.end_ * kWeightChunkBytes);
  try {
    assembler.bytes_ = std::make_shared<std::vector<std::byte>>(size);
  } catch (const std::bad_alloc&) {
    return resource_exhausted("no memory for weights of " + std::to_string(size >> 20) + " MiB");
  }
  return assembler;
}

Status WeightAssembler::check_layout() const {
  const Status broken = data_loss("the manifest of the weights contradicts itself");
  const int64_t chunks = manifest_.num_chunks(), tokenizer_chunk = manifest_.tokenizer_chunk();
  if (manifest_.chunk_bytes() != kWeightChunkBytes || chunks < 0 ||
      chunks > kMaxImageBytes / kWeightChunkBytes || tokenizer_chunk < 0 || tokenizer_chunk > chunks ||
      (chunks - tokenizer_chunk) * kWeightChunkBytes > kMaxTokenizerBytes) {
    return broken;
  }
  const auto fits = [](int64_t offset, int64_t bytes, int64_t low, int64_t high) {
    return offset >= low && bytes >= 0 && offset <= high && bytes <= high - offset;
  };
  const auto expected = expected_tensors(spec_);
  if (static_cast<size_t>(manifest_.tensors_size()) != expected.size()) return broken;
  std::set<std::string_view> seen;
  int64_t tensors_end = 0;
  for (const v1::TensorEntry& entry : manifest_.tensors()) {
    const auto it = expected.find(entry.name());
    if (!seen.insert(entry.name()).second) return broken;
    if (it == expected.end() ||
        !std::equal(it->second.begin(), it->second.end(), entry.shape().begin(), entry.shape().end())) {
      return data_loss("the weights hold " + in_quotes(entry.name()) +
                       ", which is no tensor of this model or not of this shape");
    }
    TRY(dtype, parse_dtype(entry.dtype()));
    if (!is_floating(dtype)) return broken;
    int64_t bytes = static_cast<int64_t>(dtype_size(dtype));
    for (const int64_t n : it->second) {
      if (n < 0 || (n > 0 && bytes > kMaxImageBytes / n)) return broken;
      bytes *= n;
    }
    if (bytes != entry.bytes() || entry.offset() % kFlatAlignment != 0 ||
        !fits(entry.offset(), bytes, 0, tokenizer_chunk * kWeightChunkBytes)) {
      return broken;
    }
    tensors_end = std::max(tensors_end, entry.offset() + bytes);
  }
  if (tokenizer_chunk != round_up(tensors_end, kWeightChunkBytes) / kWeightChunkBytes) return broken;
  for (const v1::FileEntry& file : manifest_.tokenizer_files()) {
    if (!is_plain_name(file.name())) return data_loss("a tokenizer file is named " + in_quotes(file.name()));
    if (!fits(file.offset(), file.bytes(), tokenizer_chunk * kWeightChunkBytes, chunks * kWeightChunkBytes))
      return broken;
  }
  if (!manifest_.tokenizer_entry().empty() && !is_plain_name(manifest_.tokenizer_entry())) return broken;
  return ok_status();
}

Status WeightAssembler::add(const v1::Chunk& chunk) {
  if (chunk.index() != next_ || complete()) {
    return data_loss("weights: chunk " + std::to_string(chunk.index()) + " came where " +
                     std::to_string(next_) + " was due");
  }
  if (static_cast<int64_t>(chunk.data().size()) != kWeightChunkBytes ||
      crc32c(chunk.data()) != chunk.crc32c()) {
    return data_loss("weights: chunk " + std::to_string(chunk.index()) + " is damaged");
  }
  std::memcpy(bytes_->data() + next_ * kWeightChunkBytes, chunk.data().data(), chunk.data().size());
  ++next_;
  return ok_status();
}

size_t WeightAssembler::tensors_bytes() const {
  return static_cast<size_t>(manifest_.tokenizer_chunk() * kWeightChunkBytes);
}

std::span<uint16_t> WeightAssembler::values() const {
  return {reinterpret_cast<uint16_t*>(bytes_->data()), tensors_bytes() / sizeof(uint16_t)};
}

uint64_t WeightAssembler::tensors_hash() const { return flat_hash(values()); }

Status WeightAssembler::check_hash() const {
  if (!in_bf16() || tensors_hash() == manifest_.tensors_hash()) return ok_status();
  return data_loss("the weights that arrived are not the learner's: their hashes differ");
}

Status WeightAssembler::advance(v1::Manifest next, std::span<const std::string_view> deltas) {
  const auto& a = manifest_.tensors();
  const auto& b = next.tensors();
  const bool same = a.size() == b.size() && next.tokenizer_chunk() == manifest_.tokenizer_chunk() &&
                    next.tokenizer_hash() == manifest_.tokenizer_hash() &&
                    next.model_config_json() == manifest_.model_config_json() &&
                    std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
                      return x.SerializeAsString() == y.SerializeAsString();
                    });
  if (!same || !in_bf16()) return data_loss("the new weights are of another layout");
  if (bytes_.use_count() > 1) bytes_ = std::make_shared<std::vector<std::byte>>(*bytes_);
  for (const std::string_view delta : deltas) TRY_DO(apply_delta(delta, values()));
  manifest_.set_weights_id(next.weights_id());
  *manifest_.mutable_version() = next.version();
  manifest_.set_tensors_hash(next.tensors_hash());
  return check_hash();
}

Result<std::shared_ptr<const WeightSet>> WeightAssembler::weights() const {
  if (!complete()) return failed_precondition("the weights have not arrived whole");
  auto set = std::make_shared<WeightSet>();
  set->version = from_wire(manifest_.version());
  set->spec = spec_;
  for (const v1::TensorEntry& entry : manifest_.tensors()) {
    TRY(dtype, parse_dtype(entry.dtype()));
    TensorView view;
    view.dtype = dtype;
    view.shape.assign(entry.shape().begin(), entry.shape().end());
    view.bytes =
        std::span(*bytes_).subspan(static_cast<size_t>(entry.offset()), static_cast<size_t>(entry.bytes()));
    view.owner = bytes_;
    set->tensors.emplace(entry.name(), std::move(view));
  }
  return std::shared_ptr<const WeightSet>(std::move(set));
}

TokenizerFiles WeightAssembler::tokenizer() const {
  TokenizerFiles tokenizer{.hash = manifest_.tokenizer_hash(),
                           .splitter = manifest_.tokenizer_splitter(),
                           .entry = manifest_.tokenizer_entry()};
  if (end_ < manifest_.num_chunks()) return tokenizer;  // its files were not asked for
  for (const v1::FileEntry& file : manifest_.tokenizer_files()) {
    tokenizer.files.emplace_back(file.name(),
                                 std::string(reinterpret_cast<const char*>(bytes_->data()) + file.offset(),
                                             static_cast<size_t>(file.bytes())));
  }
  return tokenizer;
}

}  // namespace fulcrum
