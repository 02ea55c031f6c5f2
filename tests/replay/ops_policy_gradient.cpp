// policy_gradient.json through the product's code.
#include "tests/replay/replay.h"

namespace fulcrum::replay {

void add_policy_gradient_ops(Ops& /*ops*/) {}

}  // namespace fulcrum::replay
