// safetensors: a tensor's bytes lie inside the file, and what was read is written and read again as the same.
#include "policy/weights/safetensors.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  // A copy of its own, so that a read past the end is seen.
  const auto owner = std::make_shared<std::string>(input);
  const std::span<const std::byte> file = std::as_bytes(std::span(owner->data(), owner->size()));
  const Result<Safetensors> read = parse_safetensors(file, owner);
  if (!good(read)) return;
  size_t covered = 0;
  for (const auto& [name, tensor] : read->tensors) {
    LAW(tensor.bytes.size() == static_cast<size_t>(tensor.numel()) * dtype_size(tensor.dtype));
    LAW(tensor.bytes.data() >= file.data() &&
        tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size());
    covered += tensor.bytes.size();
    if (const auto values = to_float(tensor); good(values)) {
      LAW(values->size() == static_cast<size_t>(tensor.numel()));
    }
  }
  LAW(covered <= file.size());

  const Scratch scratch;
  LAW(write_safetensors(scratch.path("a"), read->tensors, read->metadata).ok());
  const Result<Safetensors> again = read_safetensors(scratch.path("a"));
  LAW(again.ok());
  LAW(content_hash(again->tensors) == content_hash(read->tensors));
  LAW(again->metadata == read->metadata);
  LAW(write_safetensors(scratch.path("b"), again->tensors, again->metadata).ok());
  LAW(scratch.get("a") == scratch.get("b"));
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
