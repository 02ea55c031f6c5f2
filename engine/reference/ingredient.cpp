#include "engine/reference/ingredient.h"

#include <utility>

#include "engine/core/hash.h"
#include "policy/text/tokenizer.h"

namespace fulcrum {
namespace {

// "" unless the file is there and holds an object with such a member.
Json member_of(const Path& file, const char* key) {
  const Result<std::string> text = read_file(file, uint64_t{32} << 20);
  if (!text.ok()) return nullptr;
  const Result<Json> json = parse_json(*text);
  if (!json.ok() || !json->is_object()) return nullptr;
  const auto found = json->find(key);
  return found == json->end() ? Json(nullptr) : *found;
}

std::string text_or_empty(const Json& value) { return value.is_string() ? value.get<std::string>() : ""; }

std::string tokenizer_hash(const Path& folder) {
  if (folder.empty()) return "";
  const auto tokenizer = load_tokenizer(folder);
  if (!tokenizer.ok()) return "";  // whoever needs one reports why it cannot be read
  const auto id = [](std::optional<TokenId> token) { return token ? std::to_string(*token) : "-"; };
  const Tokenizer& t = **tokenizer;
  return sha256_hex(t.content_hash() + " " + id(t.bos()) + " " + id(t.eos()) + " " + id(t.pad()) + "\n" +
                    chat_template(folder));
}

// Written by the journal into a checkpoint's manifest, and by `fulcrum soup` beside a soup.
std::string recorded_base(const Path& folder) {
  if (folder.empty()) return "";
  const Json facts = member_of(folder / "MANIFEST.json", "facts");
  if (facts.is_object() && facts.contains("base")) return text_or_empty(facts["base"]);
  return text_or_empty(member_of(folder / "soup.json", "base"));
}

}  // namespace

std::string chat_template(const Path& folder) {
  const Result<std::string> file = read_file(folder / "chat_template.jinja", uint64_t{1} << 20);
  if (file.ok()) return *file;
  const Json value = member_of(folder / "tokenizer_config.json", "chat_template");
  return value.is_string() || value.is_null() ? text_or_empty(value) : dump_json(value);
}

Ingredient as_ingredient(Model model, std::string name) {
  Ingredient out{.name = std::move(name), .model = std::move(model)};
  out.tokenizer_hash = tokenizer_hash(out.model.folder);
  out.base_hash = recorded_base(out.model.folder);
  return out;
}

Result<Ingredient> load_ingredient(const std::string& path) {
  TRY(model, load_model(path));
  return as_ingredient(std::move(model), path);
}

std::string base_of(const Model& start) {
  const std::string base = recorded_base(start.folder);
  return base.empty() ? content_hash(start.tensors) : base;
}

}  // namespace fulcrum
