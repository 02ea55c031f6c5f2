#include "engine/rpc/weight_service.h"

#include <algorithm>

#include "engine/rpc/reactor.h"

namespace fulcrum {

Result<std::shared_ptr<const WeightImage>> WeightServiceServer::find(int64_t weights_id) const {
  auto image = source_.image(weights_id);
  if (image == nullptr)
    return not_found("weights " + std::to_string(weights_id) + " are not published here (any more)");
  return image;
}

Result<std::shared_ptr<const WeightUpdate>> WeightServiceServer::find_update(int64_t base,
                                                                             int64_t weights_id) const {
  auto update = source_.update(base, weights_id);
  if (update == nullptr) {
    return not_found("there is no update from weights " + std::to_string(base) + " to " +
                     std::to_string(weights_id) + " here (any more)");
  }
  return update;
}

grpc::ServerUnaryReactor* WeightServiceServer::GetManifest(grpc::CallbackServerContext*,
                                                           const v1::ManifestRequest* request,
                                                           v1::Manifest* response) {
  return answer(threads_, response, [this, request](std::stop_token) -> Result<v1::Manifest> {
    TRY(image, find(request->weights_id()));
    v1::Manifest manifest = image->manifest();
    const int64_t held = request->held_weights_id();
    const auto update = held == 0 ? nullptr : source_.update(held, manifest.weights_id());
    if (update != nullptr) *manifest.mutable_update() = update->description();
    return manifest;
  });
}

namespace {

// The chunks of the range that was asked for.
template <class Chunks>
Status send(const Chunks& chunks, int64_t all, const v1::FetchRequest& request, const WeightSource& source,
            StreamWriter<v1::Chunk>& out) {
  const int64_t first = request.first_chunk();
  if (first < 0 || first > all || request.num_chunks() < 0)
    return Status(Code::kOutOfRange, "the weights have " + std::to_string(all) + " chunks");
  const int64_t wanted =
      request.num_chunks() == 0 ? all - first : std::min(request.num_chunks(), all - first);
  for (int64_t index = first; index < first + wanted; ++index) {
    TRY(chunk, chunks.chunk(index));
    if (!out.write(chunk)) return cancelled();
    source.sent(static_cast<int64_t>(chunk.data().size()));
  }
  return ok_status();
}

}  // namespace

grpc::ServerWriteReactor<v1::Chunk>* WeightServiceServer::Fetch(grpc::CallbackServerContext* context,
                                                                const v1::FetchRequest* request) {
  return stream<v1::Chunk>(context, threads_, [this, request](StreamWriter<v1::Chunk>& out) -> Status {
    if (request->base_weights_id() != 0) {
      TRY(update, find_update(request->base_weights_id(), request->weights_id()));
      return send(*update, update->num_chunks(), *request, source_, out);
    }
    TRY(image, find(request->weights_id()));
    return send(*image, image->manifest().num_chunks(), *request, source_, out);
  });
}

}  // namespace fulcrum
