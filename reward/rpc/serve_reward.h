// A reward as a service of its own, until it is stopped. Run by `fulcrum reward`. No generated header, so
// that the program may have it beside LibTorch's.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "engine/rpc/server.h"
#include "reward/reward.h"

namespace fulcrum {

// Blocks until `stop`; `listening` gets the address once calls are accepted. What can go wrong is
// RpcServer::start's.
Status serve_reward(std::shared_ptr<const RewardFunction> reward, const ServerOptions& options,
                    const std::function<void(const std::string& address)>& listening, std::stop_token stop);

}  // namespace fulcrum
