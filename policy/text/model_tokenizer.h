// The tokenizer that goes with a model. Called by whatever feeds text to a model that someone named. Pure.
#pragma once

#include "policy/text/tokenizer.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

// The tokenizer at `path`; if that is empty, the one beside the model's weights. load_tokenizer()'s errors,
// and kInvalidArgument with both sizes if it has more tokens of text than the model. Fewer are usual: models
// pad their vocabulary; and so are special tokens beyond it (a <pad> added later), which no text gives.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer_of(const Model& model, const Path& path,
                                                           const TokenizerOptions& options = {});

}  // namespace fulcrum
