// A model on its way into a soup or a comparison: its tensors, and the hashes that say whether it belongs
// with the others. Called by the references and by `fulcrum soup`. Values.
#pragma once

#include <string>

#include "engine/core/status.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {

struct Ingredient {
  std::string name;            // for messages: its path, or what it is
  Model model;                 // the file's tensors, mapped
  std::string tokenizer_hash;  // of whatever decides ids and chats; empty: it has no tokenizer
  std::string base_hash;       // of the pre-trained model it was tuned from; empty: nobody wrote it down
};

// Loads the model, hashes the tokenizer in its folder (chat template included) and looks up where it was
// tuned from, which Fulcrum's checkpoints and soups record. Errors name the path.
Result<Ingredient> load_ingredient(const std::string& path);

// The same for a model that is loaded already; its `folder` is where the tokenizer would be.
Ingredient as_ingredient(Model model, std::string name);

// What a checkpoint that was trained from this model, or a soup of such, records as its base: the model's own
// base where it has one, else the hash of its weights.
std::string base_of(const Model& start);

// The chat template of a model folder: that of chat_template.jinja, else of tokenizer_config.json; "" without
// one.
std::string chat_template(const Path& folder);

}  // namespace fulcrum
