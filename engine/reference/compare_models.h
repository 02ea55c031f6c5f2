// May two checkpoints be averaged, or one be the other's reference? Called before a soup is made and before a
// reference is taken up. Pure but for reading the models' tokenizer files.
#pragma once

#include <string>
#include <vector>

#include "engine/core/status.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// In the order the checks are made; the first that fails decides (SALSA's list, arXiv 2411.01798).
enum class Mismatch { kNone, kArchitecture, kTokenizer, kKeys, kShape, kDtypeClass, kTying };

struct Comparison {
  Mismatch kind = Mismatch::kNone;
  std::vector<std::string> names;  // keys: every differing tensor, sorted; shape, dtype: the first one
  std::string what;                // one line: the first difference
};

// Tokenizers are compared where both models come from folders that have one: equal files, or the same text
// for every id.
Comparison compare_models(const Model& a, const Model& b);

// kInvalidArgument "<name_a> and <name_b> do not fit: <first difference>".
Status check_same_kind(const Model& a, const std::string& name_a, const Model& b, const std::string& name_b);

}  // namespace fulcrum
