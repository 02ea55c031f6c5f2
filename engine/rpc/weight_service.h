// WeightService: hands published weights to workers, chunk by chunk. What is published is the source's
// business.
#pragma once

#include <memory>

#include "engine/rpc/call_threads.h"
#include "engine/rpc/weight_image.h"
#include "fulcrum/v1/weights.grpc.pb.h"

namespace fulcrum {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // Null: never published, or replaced and let go. 0 asks for the newest. Thread-safe.
  virtual std::shared_ptr<const WeightImage> image(int64_t weights_id) const = 0;
};

class WeightServiceServer final : public v1::WeightService::CallbackService {
 public:
  // The source must live until the server has stopped.
  explicit WeightServiceServer(const WeightSource& source) : source_(source), threads_(64) {}

  grpc::ServerUnaryReactor* GetManifest(grpc::CallbackServerContext* context,
                                        const v1::ManifestRequest* request, v1::Manifest* response) override;
  grpc::ServerWriteReactor<v1::Chunk>* Fetch(grpc::CallbackServerContext* context,
                                             const v1::FetchRequest* request) override;

 private:
  Result<std::shared_ptr<const WeightImage>> find(int64_t weights_id) const;

  const WeightSource& source_;
  CallThreads threads_;
};

}  // namespace fulcrum
