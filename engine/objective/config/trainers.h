// The names of objectives.def and the rows each learns from. Torch-free: for the config, the pipeline and the
// client.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/types/row_format.h"

namespace fulcrum {

inline std::vector<std::string> trainer_names() {
  return {
#define FULCRUM_OBJECTIVE(name, rows, make) #name,
#include "engine/objective/config/objectives.def"
#undef FULCRUM_OBJECTIVE
  };
}

// kPrompt for a name that is not in the list; the config has refused it before.
inline RowFormat trainer_rows(std::string_view trainer) {
#define FULCRUM_OBJECTIVE(name, rows, make) \
  if (trainer == #name) return RowFormat::rows;
#include "engine/objective/config/objectives.def"
#undef FULCRUM_OBJECTIVE
  return RowFormat::kPrompt;
}

// f-DPG and alpha-DPG: a target distribution, not a reward to be maximised.
inline bool is_dpg(std::string_view trainer) { return trainer == "f_dpg" || trainer == "alpha_dpg"; }

}  // namespace fulcrum
