// May two checkpoints be averaged, or one be the other's reference? Called before a soup is made and before a
// reference is taken up. Pure but for reading the models' tokenizer files.
#pragma once

#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/reference/ingredient.h"

namespace fulcrum {

// In the order the checks are made; the first that fails decides (SALSA's list, arXiv 2411.01798). kBase
// forbids an average unless someone insists; a reference may have any base.
enum class Mismatch { kNone, kArchitecture, kTokenizer, kKeys, kShape, kDtypeClass, kTying, kBase };

struct Comparison {
  Mismatch kind = Mismatch::kNone;
  std::vector<std::string> names;  // keys: every differing tensor, sorted; shape, dtype: the first one
  std::string what;                // one line: the first difference
};

// Tokenizers and bases are compared where both are known. Tokenizers of unequal hashes still are the same if
// they give every id the same text, every such text the same ids, and have the same chat template.
Comparison compare_models(const Ingredient& a, const Ingredient& b);

// "<a> and <b> do not fit: <first difference>".
std::string misfit(const Ingredient& a, const Ingredient& b, const Comparison& comparison);

// kInvalidArgument with misfit(); another base is no difference here.
Status check_same_kind(const Ingredient& a, const Ingredient& b);

}  // namespace fulcrum
