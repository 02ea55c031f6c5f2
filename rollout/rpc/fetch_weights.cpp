#include "rollout/rpc/fetch_weights.h"

#include "engine/core/log.h"
#include "engine/rpc/weight_update.h"
#include "fulcrum/v1/weights.grpc.pb.h"

namespace fulcrum {
namespace {

constexpr std::chrono::seconds kManifestPatience{30};
constexpr int kAttemptsWithoutProgress = 3;

using Stub = v1::WeightService::StubInterface;

Result<v1::Manifest> get_manifest(const Connection& learner, Stub& stub, int64_t weights_id, int64_t held,
                                  std::stop_token stop) {
  grpc::ClientContext context;
  learner.prepare(context, Deadline::in(kManifestPatience));
  const std::stop_callback cancel(stop, [&] { context.TryCancel(); });
  v1::ManifestRequest request;
  request.set_weights_id(weights_id);
  request.set_held_weights_id(held);
  v1::Manifest manifest;
  TRY_DO(learner.status(stub.GetManifest(&context, request, &manifest)));
  if (manifest.weights_id() != weights_id)
    return data_loss("the learner answered with other weights than asked for");
  return manifest;
}

// What is wanted of the learner's chunks: of the weights, or of the update from others.
struct Wanted {
  int64_t weights_id = 0, base_weights_id = 0;
  int64_t end_chunk = 0;
};

// One stream, from the next chunk on. `Assembler`: WeightAssembler or UpdateAssembler.
template <class Assembler>
Status fetch_rest(const Connection& learner, Stub& stub, const Wanted& wanted, std::stop_token stop,
                  Assembler& into) {
  grpc::ClientContext context;
  learner.prepare(context, Deadline::never());
  const std::stop_callback cancel(stop, [&] { context.TryCancel(); });
  v1::FetchRequest request;
  request.set_weights_id(wanted.weights_id);
  request.set_base_weights_id(wanted.base_weights_id);
  request.set_first_chunk(into.next_chunk());
  request.set_num_chunks(wanted.end_chunk - into.next_chunk());
  const auto reader = stub.Fetch(&context, request);
  v1::Chunk chunk;
  Status bad;
  while (bad.ok() && !into.complete() && reader->Read(&chunk)) bad = into.add(chunk);
  if (!bad.ok()) context.TryCancel();
  const Status end = learner.status(reader->Finish());
  return bad.ok() ? end : bad;
}

template <class Assembler>
Status fetch_all(const Connection& learner, Stub& stub, const Wanted& wanted, std::stop_token stop,
                 Assembler& into) {
  int attempts = 0;
  while (!into.complete()) {
    const int64_t before = into.next_chunk();
    const Status status = fetch_rest(learner, stub, wanted, stop, into);
    if (into.complete()) break;
    if (stop.stop_requested()) return cancelled();
    const bool may_pass =
        status.ok() || status.code() == Code::kUnavailable || status.code() == Code::kDataLoss;
    attempts = into.next_chunk() > before ? 0 : attempts + 1;
    if (!may_pass || attempts >= kAttemptsWithoutProgress) {
      return status.ok() ? unavailable("the learner sends no more of its weights") : status;
    }
  }
  return ok_status();
}

// Makes the weights of the manifest of the held ones.
Status update_held(const Connection& learner, Stub& stub, const v1::Manifest& manifest, std::stop_token stop,
                   WeightAssembler& held) {
  const v1::Update& update = manifest.update();
  if (update.base_weights_id() != held.manifest().weights_id() ||
      update.base_hash() != held.manifest().tensors_hash()) {
    return data_loss("the learner's changes start from other weights than those held here");
  }
  const int64_t most = held.manifest().num_chunks() * held.manifest().chunk_bytes();
  TRY(assembler, UpdateAssembler::begin(update, most));
  const Wanted wanted{manifest.weights_id(), update.base_weights_id(), assembler.end_chunk()};
  TRY_DO(fetch_all(learner, stub, wanted, std::move(stop), assembler));
  v1::Manifest next = manifest;
  next.clear_update();
  return held.advance(std::move(next), assembler.deltas());
}

Result<FetchedWeights> what_is(const WeightAssembler& assembler) {
  TRY(weights, assembler.weights());
  return FetchedWeights{weights, assembler.tokenizer()};
}

}  // namespace

Result<FetchedWeights> fetch_weights(const Connection& learner, int64_t weights_id,
                                     const std::string& known_tokenizer, std::stop_token stop,
                                     HeldWeights& held) {
  const auto stub = v1::WeightService::NewStub(learner.channel());
  TRY(manifest, get_manifest(learner, *stub, weights_id, held ? held->manifest().weights_id() : 0, stop));
  if (held && manifest.has_update() && manifest.tokenizer_hash() == known_tokenizer) {
    const Status updated = update_held(learner, *stub, manifest, stop, *held);
    if (updated.ok()) return what_is(*held);
    if (stop.stop_requested()) return cancelled();
    log_warn("rollout: weights " + std::to_string(weights_id) + " are fetched whole: " + updated.message());
  }
  held.reset();  // before the new ones take their memory
  manifest.clear_update();
  const bool with_tokenizer = known_tokenizer.empty() || manifest.tokenizer_hash() != known_tokenizer;
  const Wanted wanted{weights_id, 0, with_tokenizer ? manifest.num_chunks() : manifest.tokenizer_chunk()};
  TRY(assembler, WeightAssembler::begin(std::move(manifest), with_tokenizer));
  TRY_DO(fetch_all(learner, *stub, wanted, std::move(stop), assembler));
  TRY_DO(assembler.check_hash());
  TRY(fetched, what_is(assembler));
  if (assembler.in_bf16()) held = std::move(assembler);
  return fetched;
}

}  // namespace fulcrum
