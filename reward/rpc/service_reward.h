// The reward named `service`: a judge in another process. The client's half of reward/rpc; the pipeline sees
// a RewardFunction. A service that lies (wrong count, scores that are not finite) or dies gives failed
// verdicts, never a wrong number.
#pragma once

#include <memory>
#include <string>

#include "engine/rpc/client.h"
#include "fulcrum/v1/reward.grpc.pb.h"
#include "reward/make_rewards.h"
#include "reward/reward.h"

namespace fulcrum {

struct ServiceRewardOptions {
  std::string reward;                           // sent along; empty: whatever the service judges by
  Duration timeout = std::chrono::seconds(10);  // for one call, its retries included
  size_t max_batch = 64;                        // completions a call
  int attempts = 5;                             // calls per batch while the service is unreachable
  Duration first_backoff = std::chrono::milliseconds(100);  // doubles
};

class ServiceReward final : public RewardFunction {
 public:
  ServiceReward(Connection connection, ServiceRewardOptions options);

  std::string_view name() const override { return "service"; }
  std::vector<Verdict> score(std::span<const RewardRequest> requests, Deadline deadline,
                             std::stop_token stop) const override;

 private:
  void score_batch(std::span<const RewardRequest> requests, Deadline deadline, std::stop_token stop,
                   std::vector<Verdict>& verdicts) const;
  Status call(const v1::ScoreRequest& request, Deadline deadline, std::stop_token stop,
              v1::ScoreResponse& response) const;

  Connection connection_;
  ServiceRewardOptions options_;
  std::unique_ptr<v1::RewardService::StubInterface> stub_;
};

// For make_rewards(): opens a connection per reward item, to its `address`, with these TLS files and token.
JudgeFactory service_reward_factory(ClientOptions credentials = {});

}  // namespace fulcrum
