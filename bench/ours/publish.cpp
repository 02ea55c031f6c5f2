#include "bench/ours/op.h"
#include "engine/publish/delta.h"
#include "engine/publish/flat_weights.h"
#include "policy/weights/safetensors.h"

namespace fulcrum::bench {
namespace {

using Weights = std::vector<uint16_t>;

Result<Weights> bf16(const Safetensors& file, const std::string& name) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end() || found->second.dtype != DType::kBF16)
    return not_found("the inputs have no bf16 tensor '" + name + "'");
  Weights out(found->second.bytes.size() / sizeof(uint16_t));
  std::memcpy(out.data(), found->second.bytes.data(), found->second.bytes.size());
  return out;
}

}  // namespace

Status publish(const Json& options, const Serve& serve) {
  TRY(file, read_safetensors(options.at("inputs").get<std::string>()));
  TRY(base, bf16(file, "base"));
  TRY(next, bf16(file, "next"));
  const auto there = encode_delta(base, next), back = encode_delta(next, base);
  if (!there || !back) return invalid_argument("the weights change too much for a delta");
  const auto bytes = static_cast<int64_t>(there->size());
  if (options.at("kind") == "encode") {
    return serve([&]() -> Result<Json> {
      const auto delta = encode_delta(base, next);
      return Json{{"bytes", bytes}, {"right", delta == there}};
    });
  }
  // There and back again, each time with the hash that a worker checks.
  const uint64_t hashes[] = {flat_hash(base), flat_hash(next)};
  bool at_next = false;
  return serve([&]() -> Result<Json> {
    TRY_DO(apply_delta(at_next ? *back : *there, base));
    at_next = !at_next;
    return Json{{"bytes", bytes}, {"right", flat_hash(base) == hashes[at_next ? 1 : 0]}};
  });
}

}  // namespace fulcrum::bench
