#include "policy/weights/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

static_assert(std::endian::native == std::endian::little, "weights are little endian in files and in memory");

constexpr size_t kLengthBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The shape, and how many bytes it takes; every product is checked.
struct Extent {
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

Result<Extent> parse_shape(const SortedJson& json, DType dtype) {
  Extent out;
  out.bytes = dtype_size(dtype);
  if (!json.is_array()) return invalid_argument("'shape' is not a list");
  for (const SortedJson& d : json) {
    if (!d.is_number_unsigned()) return invalid_argument("'shape' holds something that is not a size");
    const uint64_t size = d.get<uint64_t>();
    if (__builtin_mul_overflow(out.bytes, size, &out.bytes) || size > static_cast<uint64_t>(INT64_MAX)) {
      return invalid_argument("'shape' is larger than any file");
    }
    out.shape.push_back(static_cast<int64_t>(size));
  }
  return out;
}

// One entry of the header; `data` is everything behind the header.
Result<TensorView> parse_entry(const SortedJson& entry, std::span<const std::byte> data,
                               const std::shared_ptr<const void>& owner) {
  if (!entry.is_object()) return invalid_argument("the entry is not an object");
  const auto dtype = entry.find("dtype"), shape = entry.find("shape"), offsets = entry.find("data_offsets");
  if (entry.size() != 3 || dtype == entry.end() || shape == entry.end() || offsets == entry.end()) {
    return invalid_argument("the entry must have exactly 'dtype', 'shape' and 'data_offsets'");
  }
  if (!dtype->is_string()) return invalid_argument("'dtype' is not a string");
  TRY(type, parse_dtype(dtype->get_ref<const std::string&>()));
  TRY(extent, parse_shape(*shape, type));
  if (!offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned()) {
    return invalid_argument("'data_offsets' is not a pair of offsets");
  }
  const uint64_t begin = (*offsets)[0].get<uint64_t>(), end = (*offsets)[1].get<uint64_t>();
  if (begin > end || end > data.size()) {
    return invalid_argument("'data_offsets' [" + std::to_string(begin) + ", " + std::to_string(end) +
                            "] lie outside the file's " + std::to_string(data.size()) +
                            " bytes of data; the file is damaged or was cut");
  }
  if (end - begin != extent.bytes) {
    return invalid_argument("'data_offsets' span " + std::to_string(end - begin) +
                            " bytes but 'shape' needs " + std::to_string(extent.bytes));
  }
  return TensorView{type, std::move(extent.shape), data.subspan(begin, end - begin), owner};
}

// Every byte of the data belongs to exactly one tensor. Otherwise bytes could hide in the file, or one could
// be two weights.
Status check_cover(const TensorMap& tensors, std::span<const std::byte> data) {
  std::vector<std::span<const std::byte>> parts;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.bytes.empty()) parts.push_back(tensor.bytes);
  }
  std::sort(parts.begin(), parts.end(), [](auto a, auto b) { return a.data() < b.data(); });
  const std::byte* at = data.data();
  for (const auto part : parts) {
    if (part.data() != at) return invalid_argument("the tensors overlap or leave a hole");
    at += part.size();
  }
  if (at != data.data() + data.size()) return invalid_argument("bytes after the last tensor belong to none");
  return ok_status();
}

Result<SortedJson> parse_header(std::span<const std::byte> file) {
  if (file.size() < kLengthBytes) return invalid_argument("too short for a safetensors file");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxSafetensorsHeader) {
    return invalid_argument("not a safetensors file: its header would have " + std::to_string(length) +
                            " bytes; the limit is " + std::to_string(kMaxSafetensorsHeader));
  }
  if (length > file.size() - kLengthBytes)
    return invalid_argument("the header is longer than the file; the file was cut");
  const std::string_view text = as_text(file.subspan(kLengthBytes, length));
  if (!text.starts_with('{'))
    return invalid_argument("not a safetensors file: its header is not a JSON object");
  Result<SortedJson> header = parse_sorted_json(text);
  if (!header.ok()) return header.status().with_context("header");
  return header;
}

Result<std::map<std::string, std::string>> parse_metadata(const SortedJson& json) {
  std::map<std::string, std::string> out;
  if (!json.is_object()) return invalid_argument("'__metadata__' is not an object");
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) return invalid_argument("'__metadata__' holds something that is not a string");
    out.emplace(key, value.get<std::string>());
  }
  return out;
}

}  // namespace

Result<Safetensors> parse_safetensors(std::span<const std::byte> file,
                                      const std::shared_ptr<const void>& owner) {
  TRY(header, parse_header(file));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  const std::span<const std::byte> data = file.subspan(kLengthBytes + length);
  Safetensors out;
  for (const auto& [name, entry] : header.items()) {
    if (name == kMetadataKey) {
      TRY(metadata, parse_metadata(entry));
      out.metadata = std::move(metadata);
      continue;
    }
    Result<TensorView> tensor = parse_entry(entry, data, owner);
    if (!tensor.ok()) return tensor.status().with_context("tensor " + in_quotes(name));
    out.tensors.emplace(name, std::move(tensor).value());
  }
  TRY_DO(check_cover(out.tensors, data));
  return out;
}

Result<Safetensors> read_safetensors(const Path& path) {
  TRY(file, MappedFile::open(path));
  Result<Safetensors> out = parse_safetensors(file->bytes(), file);
  if (!out.ok()) return out.status().with_context(in_quotes(path.string()));
  return out;
}

Status write_safetensors(const Path& path, const TensorMap& tensors,
                         const std::map<std::string, std::string>& metadata) {
  std::vector<const TensorMap::value_type*> order;
  for (const auto& entry : tensors) order.push_back(&entry);
  // Wide types first keeps every tensor aligned to its element.
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return dtype_size(a->second.dtype) > dtype_size(b->second.dtype);
  });
  Json header = Json::object();
  if (!metadata.empty()) header[std::string(kMetadataKey)] = metadata;
  auto& members = header.get_ref<Json::object_t&>();
  std::vector<std::string_view> pieces(2);
  uint64_t at = 0;
  for (const auto* entry : order) {
    const TensorView& tensor = entry->second;
    const uint64_t end = at + tensor.bytes.size();
    // The names are a map's keys: pushed without ordered_json's search for duplicates.
    members.Container::emplace_back(entry->first, Json{{"dtype", dtype_name(tensor.dtype)},
                                                       {"shape", tensor.shape},
                                                       {"data_offsets", Json::array({at, end})}});
    pieces.push_back(as_text(tensor.bytes));
    at = end;
  }
  std::string text = dump_json(header);
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  const uint64_t length = text.size();
  pieces[0] = as_text(std::as_bytes(std::span(&length, 1)));
  pieces[1] = text;
  return write_file_atomic(path, pieces);
}

}  // namespace fulcrum
