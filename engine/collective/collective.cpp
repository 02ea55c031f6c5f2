#include "engine/collective/collective.h"

#include <ATen/ops/from_blob.h>

namespace fulcrum {
namespace {

class LocalCollective final : public Collective {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  Status status() const override { return ok_status(); }
  void leave(Status) override {}
  Status sum(std::span<const at::Tensor>, std::string_view) override { return ok_status(); }
  Status sum_on_devices(std::span<const at::Tensor>, std::string_view) override { return ok_status(); }
  Status broadcast(std::span<std::byte>, std::string_view) override { return ok_status(); }
  Result<std::vector<std::string>> gather(std::string_view bytes, std::string_view) override {
    return std::vector<std::string>{std::string(bytes)};
  }
};

}  // namespace

std::unique_ptr<Collective> local_collective() { return std::make_unique<LocalCollective>(); }

Result<std::string> broadcast_text(Collective& group, std::string text, std::string_view purpose) {
  uint64_t length = text.size();
  TRY_DO(group.broadcast(std::as_writable_bytes(std::span(&length, 1)), purpose));
  text.resize(length);
  if (length > 0) TRY_DO(group.broadcast(std::as_writable_bytes(std::span(text)), purpose));
  return text;
}

Status sum_values(Collective& group, std::span<std::vector<float>* const> values, std::string_view purpose) {
  std::vector<at::Tensor> tensors;
  for (std::vector<float>* v : values) {
    if (!v->empty()) tensors.push_back(at::from_blob(v->data(), {std::ssize(*v)}, at::kFloat));
  }
  return group.sum(tensors, purpose);
}

}  // namespace fulcrum
