#include "engine/learner/agreement.h"

#include <utility>

namespace fulcrum {

Agreement::Agreement(std::shared_ptr<Collective> group)
    : group_(group != nullptr ? std::move(group) : local_collective()) {}

Result<std::vector<Json>> Agreement::exchange(const Json& part, std::string_view purpose) {
  if (alone()) return std::vector<Json>{part};
  return exchange(ok_status(), part, purpose);
}

Status Agreement::tell(const Status& fault) {
  if (std::exchange(known_, false)) return fault;
  if (!open_) {
    group_->leave(fault);
    return fault;
  }
  const auto told = exchange(fault, nullptr, "the news of a fault");
  known_ = false;
  return told.ok() ? fault : told.status();
}

Result<std::vector<Json>> Agreement::exchange(const Status& mine, const Json& part,
                                              std::string_view purpose) {
  const Json message = {{"code", static_cast<int>(mine.code())}, {"message", mine.message()}, {"part", part}};
  open_ = false;
  auto all = group_->gather(message_bytes(message), purpose);
  known_ = true;
  if (!all.ok()) return all.status();
  std::vector<Json> parts;
  for (size_t r = 0; r < all->size(); ++r) {
    TRY(said, read_message((*all)[r]));
    const auto code = static_cast<Code>(said.value("code", static_cast<int>(Code::kDataLoss)));
    if (code == Code::kOk) {
      parts.push_back(std::move(said["part"]));
      continue;
    }
    const Status fault(code, said.value("message", ""));
    return r == 0 ? fault : fault.with_context("rank " + std::to_string(r));
  }
  known_ = false;
  return parts;
}

std::string message_bytes(const Json& message) {
  std::string out;
  Json::to_cbor(message, out);
  return out;
}

Result<Json> read_message(std::string_view bytes) {
  Json out = Json::from_cbor(bytes, /*strict=*/true, /*allow_exceptions=*/false);
  if (!out.is_object()) return data_loss("a message between the ranks cannot be read");
  return out;
}

}  // namespace fulcrum
