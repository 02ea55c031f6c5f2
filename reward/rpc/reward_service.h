// Any RewardFunction as a gRPC service: the server's half of reward/rpc. Run by `fulcrum reward` and by
// tests.
#pragma once

#include <memory>

#include "engine/rpc/call_threads.h"
#include "fulcrum/v1/reward.grpc.pb.h"
#include "reward/reward.h"

namespace fulcrum {

class RewardServiceServer final : public v1::RewardService::CallbackService {
 public:
  explicit RewardServiceServer(std::shared_ptr<const RewardFunction> reward, size_t most_calls = 16);

  // NOT_FOUND for a reward that is not served here; a row that cannot be read is a failed verdict.
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context, const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override;

 private:
  std::shared_ptr<const RewardFunction> reward_;
  CallThreads threads_;
};

}  // namespace fulcrum
