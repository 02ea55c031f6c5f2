// tdpo.json through the product's code.
#include "tests/replay/replay.h"

namespace fulcrum::replay {

void add_tdpo_ops(Ops& /*ops*/) {}

}  // namespace fulcrum::replay
