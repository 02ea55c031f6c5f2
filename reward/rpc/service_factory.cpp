#include "reward/rpc/service_factory.h"

#include "reward/rpc/service_reward.h"

namespace fulcrum {

JudgeFactory service_rewards() { return service_reward_factory({}); }

}  // namespace fulcrum
