// dph_rl.json through the product's code.
#include "tests/replay/replay.h"

namespace fulcrum::replay {

void add_dph_rl_ops(Ops& /*ops*/) {}

}  // namespace fulcrum::replay
