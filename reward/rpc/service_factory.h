// How programs that know nothing of gRPC get the reward named `service`: no generated header is seen here, so
// it may stand beside LibTorch's.
#pragma once

#include "reward/make_rewards.h"

namespace fulcrum {

// For make_rewards(): a connection per reward item, to its `address` on loopback.
JudgeFactory service_rewards();

}  // namespace fulcrum
