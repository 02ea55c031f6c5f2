// WeightService: hands published weights to workers, chunk by chunk, or what has changed of them. What is
// published is the source's business.
#pragma once

#include <memory>

#include "engine/rpc/call_threads.h"
#include "engine/rpc/weight_image.h"
#include "engine/rpc/weight_update.h"
#include "fulcrum/v1/weights.grpc.pb.h"

namespace fulcrum {

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // Null: never published, or replaced and let go. 0 asks for the newest. Thread-safe.
  virtual std::shared_ptr<const WeightImage> image(int64_t weights_id) const = 0;
  // How weights `base` became `weights_id`. Null: they are better, or can only be, fetched whole.
  // Thread-safe.
  virtual std::shared_ptr<const WeightUpdate> update(int64_t base, int64_t weights_id) const = 0;
  // That so many bytes of weights went out. Thread-safe.
  virtual void sent(int64_t bytes) const = 0;
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
  Result<std::shared_ptr<const WeightUpdate>> find_update(int64_t base, int64_t weights_id) const;

  const WeightSource& source_;
  CallThreads threads_;
};

}  // namespace fulcrum
