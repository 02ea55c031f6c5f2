// What the SentencePiece library takes on trust in a model file: the character map of its normalizer is a
// double-array trie that is walked without bounds checks. Called before the library sees the bytes. Pure
// function.
#pragma once

#include <string_view>

#include "engine/core/status.h"

namespace fulcrum {

// kInvalidArgument: not a SentencePiece model, a trie that leads outside itself, or a denormalizer (which
// decoding by pieces does not follow).
Status check_sentencepiece_model(std::string_view model);

}  // namespace fulcrum
