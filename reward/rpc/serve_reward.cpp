#include "reward/rpc/serve_reward.h"

#include <array>
#include <condition_variable>
#include <mutex>

#include "reward/rpc/reward_service.h"

namespace fulcrum {

Status serve_reward(std::shared_ptr<const RewardFunction> reward, const ServerOptions& options,
                    const std::function<void(const std::string& address)>& listening, std::stop_token stop) {
  RewardServiceServer service(std::move(reward));
  const std::array<grpc::Service*, 1> services{&service};
  TRY(server, RpcServer::start(options, services));
  server->set_serving(true);
  listening(server->address());
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait(lock, stop, [] { return false; });
  server->stop();
  return ok_status();
}

}  // namespace fulcrum
