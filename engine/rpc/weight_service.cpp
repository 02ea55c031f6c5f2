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

grpc::ServerUnaryReactor* WeightServiceServer::GetManifest(grpc::CallbackServerContext*,
                                                           const v1::ManifestRequest* request,
                                                           v1::Manifest* response) {
  return answer(threads_, response, [this, request](std::stop_token) -> Result<v1::Manifest> {
    TRY(image, find(request->weights_id()));
    return image->manifest();
  });
}

grpc::ServerWriteReactor<v1::Chunk>* WeightServiceServer::Fetch(grpc::CallbackServerContext* context,
                                                                const v1::FetchRequest* request) {
  return stream<v1::Chunk>(context, threads_, [this, request](StreamWriter<v1::Chunk>& out) -> Status {
    TRY(image, find(request->weights_id()));
    const int64_t first = request->first_chunk(), all = image->manifest().num_chunks();
    if (first < 0 || first > all || request->num_chunks() < 0) {
      return Status(Code::kOutOfRange, "the weights have " + std::to_string(all) + " chunks");
    }
    const int64_t wanted =
        request->num_chunks() == 0 ? all - first : std::min(request->num_chunks(), all - first);
    for (int64_t index = first; index < first + wanted; ++index) {
      TRY(chunk, image->chunk(index));
      if (!out.write(chunk)) return cancelled();
    }
    return ok_status();
  });
}

}  // namespace fulcrum
