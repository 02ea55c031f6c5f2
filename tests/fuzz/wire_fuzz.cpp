// Messages as they come in at the door. The first byte says which; what is accepted goes out as the same
// message.
#include <cmath>

#include "engine/core/hash.h"
#include "engine/core/text.h"
#include "engine/rpc/convert.h"
#include "engine/rpc/job_convert.h"
#include "engine/rpc/limits.h"
#include "engine/rpc/weight_image.h"
#include "engine/rpc/weight_update.h"
#include "rollout/dispatch/check_result.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

template <class Message>
std::string bytes_of(const Message& message) {
  return message.SerializeAsString();
}

// A message, if the bytes are one.
template <class Message>
std::optional<Message> parse(std::string_view bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return std::nullopt;
  return message;
}

// A worker's completion, then the check that stands before the learner believes it.
void check_completion(std::string_view bytes) {
  const auto message = parse<v1::CompletionResult>(bytes);
  if (!message) return;
  const Result<Completion> completion = completion_from_wire(*message);
  if (!good(completion)) return;
  v1::CompletionResult written;
  completion_to_wire(*completion, written);
  const Result<Completion> again = completion_from_wire(written);
  LAW(again.ok());
  LAW(again->ids == completion->ids && again->text == completion->text &&
      again->finish == completion->finish);

  const RolloutRequest request{.num_generations = 1, .sampling = {.max_completion_length = 8}};
  const ResultLimits limits{.vocab_size = 100};
  RolloutGroup group{.version = from_wire(message->version())};
  group.completions.push_back(*completion);
  const Status status = check_result(request, from_wire(message->version()), group, limits);
  if (!status.ok()) return check_error(status);
  LAW(completion->ids.size() == completion->logps.size() && !completion->ids.empty() &&
      completion->ids.size() <= 8);
  for (const TokenId id : completion->ids) LAW(id >= 0 && id < limits.vocab_size);
  for (const float logp : completion->logps) LAW(std::isfinite(logp) && logp <= 1e-5f);
}

void check_lease(std::string_view bytes) {
  const auto message = parse<v1::Lease>(bytes);
  if (!message) return;
  const Result<RolloutRequest> request = request_from_wire(*message);
  if (!good(request)) return;
  v1::Lease written;
  request_to_wire(*request, written);
  const Result<RolloutRequest> again = request_from_wire(written);
  LAW(again.ok());
  v1::Lease twice;
  request_to_wire(*again, twice);
  LAW(bytes_of(twice) == bytes_of(written));
}

void check_reward(std::string_view bytes) {
  const auto message = parse<v1::RewardResult>(bytes);
  if (!message) return;
  const Verdict verdict = from_wire(*message);
  LAW(!verdict.score || std::isfinite(*verdict.score));
  LAW(verdict.score || verdict.kind != VerdictKind::kScored);
  LAW(printable(verdict.reason, 1 << 14) == verdict.reason);
  for (const auto& [name, score] : verdict.parts)
    LAW(std::isfinite(score) && printable(name, 1 << 14) == name);
  const Verdict again = from_wire(to_wire(verdict));
  LAW(again.kind == verdict.kind && again.score == verdict.score && again.reason == verdict.reason);
  LAW(again.parts == verdict.parts);
}

void check_job(std::string_view bytes) {
  const auto message = parse<v1::Job>(bytes);
  if (!message) return;
  const Result<Job> job = from_wire(*message);
  if (!good(job)) return;
  const v1::Job written = to_wire(*job);
  const Result<Job> again = from_wire(written);
  LAW(again.ok());
  LAW(bytes_of(to_wire(*again)) == bytes_of(written));
}

void check_event(std::string_view bytes) {
  const auto message = parse<v1::JobEvent>(bytes);
  if (!message) return;
  const Result<Event> event = from_wire(*message);
  if (!good(event)) return;
  const v1::JobEvent written = to_wire(*event);
  const Result<Event> again = from_wire(written);
  LAW(again.ok());
  LAW(bytes_of(to_wire(*again)) == bytes_of(written));
}

// A manifest of weights and chunks of zeros: what is assembled is the whole model.
void check_weights(std::string_view bytes) {
  constexpr int64_t kMaxChunks = 4;
  const auto manifest = parse<v1::Manifest>(bytes);
  if (!manifest || manifest->num_chunks() > kMaxChunks) return;
  Result<WeightAssembler> assembler = WeightAssembler::begin(*manifest, true);
  if (!good(assembler)) return;
  v1::Chunk chunk;
  chunk.set_data(std::string(static_cast<size_t>(kWeightChunkBytes), '\0'));
  chunk.set_crc32c(crc32c(chunk.data()));
  while (!assembler->complete()) {
    LAW(!assembler->weights().ok());
    chunk.set_index(assembler->next_chunk());
    LAW(assembler->add(chunk).ok());
  }
  check_error(assembler->add(chunk));
  const auto weights = assembler->weights();
  if (good(weights)) LAW(check_tensors((*weights)->spec, (*weights)->tensors).ok());
  for (const auto& [name, text] : assembler->tokenizer().files) LAW(name.find('/') == std::string::npos);
}

// The description of an update and chunks of zeros: what is assembled is deltas of the lengths it says.
void check_update(std::string_view bytes) {
  constexpr int64_t kMost = 3 << 20;
  const auto description = parse<v1::Update>(bytes);
  if (!description) return;
  Result<UpdateAssembler> assembler = UpdateAssembler::begin(*description, kMost);
  if (!good(assembler)) return;
  LAW(assembler->end_chunk() <= kMost / kWeightChunkBytes);
  int64_t left = 0;
  for (const int64_t n : description->delta_bytes()) left += n;
  for (v1::Chunk chunk; !assembler->complete(); left -= kWeightChunkBytes) {
    chunk.set_index(assembler->next_chunk());
    chunk.set_data(std::string(static_cast<size_t>(std::min(left, kWeightChunkBytes)), '\0'));
    chunk.set_crc32c(crc32c(chunk.data()));
    LAW(assembler->add(chunk).ok());
  }
  const std::vector<std::string_view> deltas = assembler->deltas();
  LAW(static_cast<int>(deltas.size()) == description->delta_bytes_size());
  for (size_t i = 0; i < deltas.size(); ++i)
    LAW(static_cast<int64_t>(deltas[i].size()) == description->delta_bytes(static_cast<int>(i)));
}

void check_status(std::string_view bytes) {
  if (bytes.empty()) return;
  const int code = static_cast<unsigned char>(bytes[0]) % 17;  // gRPC's codes; it never hands on another
  const grpc::Status wire(static_cast<grpc::StatusCode>(code), std::string(bytes.substr(1)));
  const Status status = from_grpc(wire);
  LAW(status.ok() == wire.ok());
  LAW(printable(status.message(), 1 << 14) == status.message());
  LAW(from_grpc(to_grpc(status)).code() == status.code());
}

void check(std::string_view input) {
  if (input.empty()) return;
  const std::string_view bytes = input.substr(1);
  switch (input[0]) {
    case 'c':
      return check_completion(bytes);
    case 'l':
      return check_lease(bytes);
    case 'r':
      return check_reward(bytes);
    case 'j':
      return check_job(bytes);
    case 'e':
      return check_event(bytes);
    case 'w':
      return check_weights(bytes);
    case 'u':
      return check_update(bytes);
    case 's':
      return check_status(bytes);
    default:
      return;
  }
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
