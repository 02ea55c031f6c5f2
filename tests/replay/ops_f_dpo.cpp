// f_dpo.json through the product's code.
#include "tests/replay/replay.h"

namespace fulcrum::replay {

void add_f_dpo_ops(Ops& /*ops*/) {}

}  // namespace fulcrum::replay
