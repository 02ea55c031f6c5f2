#include "rollout/rpc/fetch_weights.h"

#include "fulcrum/v1/weights.grpc.pb.h"

namespace fulcrum {
namespace {

constexpr std::chrono::seconds kManifestPatience{30};
constexpr int kAttemptsWithoutProgress = 3;

Result<v1::Manifest> get_manifest(const Connection& learner, v1::WeightService::StubInterface& stub,
                                  int64_t weights_id, std::stop_token stop) {
  grpc::ClientContext context;
  learner.prepare(context, Deadline::in(kManifestPatience));
  const std::stop_callback cancel(stop, [&] { context.TryCancel(); });
  v1::ManifestRequest request;
  request.set_weights_id(weights_id);
  v1::Manifest manifest;
  TRY_DO(learner.status(stub.GetManifest(&context, request, &manifest)));
  if (manifest.weights_id() != weights_id)
    return data_loss("the learner answered with other weights than asked for");
  return manifest;
}

// One stream, from the next chunk on.
Status fetch_rest(const Connection& learner, v1::WeightService::StubInterface& stub, int64_t weights_id,
                  int64_t end_chunk, std::stop_token stop, WeightAssembler& into) {
  grpc::ClientContext context;
  learner.prepare(context, Deadline::never());
  const std::stop_callback cancel(stop, [&] { context.TryCancel(); });
  v1::FetchRequest request;
  request.set_weights_id(weights_id);
  request.set_first_chunk(into.next_chunk());
  request.set_num_chunks(end_chunk - into.next_chunk());
  const auto reader = stub.Fetch(&context, request);
  v1::Chunk chunk;
  Status bad;
  while (bad.ok() && !into.complete() && reader->Read(&chunk)) bad = into.add(chunk);
  if (!bad.ok()) context.TryCancel();
  const Status end = learner.status(reader->Finish());
  return bad.ok() ? end : bad;
}

}  // namespace

Result<FetchedWeights> fetch_weights(const Connection& learner, int64_t weights_id,
                                     const std::string& known_tokenizer, std::stop_token stop) {
  const auto stub = v1::WeightService::NewStub(learner.channel());
  TRY(manifest, get_manifest(learner, *stub, weights_id, stop));
  const bool with_tokenizer = known_tokenizer.empty() || manifest.tokenizer_hash() != known_tokenizer;
  const int64_t end_chunk = with_tokenizer ? manifest.num_chunks() : manifest.tokenizer_chunk();
  TRY(assembler, WeightAssembler::begin(std::move(manifest), with_tokenizer));
  int attempts = 0;
  while (!assembler.complete()) {
    const int64_t before = assembler.next_chunk();
    const Status status = fetch_rest(learner, *stub, weights_id, end_chunk, stop, assembler);
    if (assembler.complete()) break;
    if (stop.stop_requested()) return cancelled();
    const bool may_pass =
        status.ok() || status.code() == Code::kUnavailable || status.code() == Code::kDataLoss;
    attempts = assembler.next_chunk() > before ? 0 : attempts + 1;
    if (!may_pass || attempts >= kAttemptsWithoutProgress) {
      return status.ok() ? unavailable("the learner sends no more of its weights") : status;
    }
  }
  TRY(weights, assembler.weights());
  return FetchedWeights{weights, assembler.tokenizer()};
}

}  // namespace fulcrum
