// A Hugging Face model folder, read and written.
#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "engine/core/text.h"
#include "policy/weights/formats.h"
#include "policy/weights/llama_tokenizer_config.h"
#include "policy/weights/safetensors.h"

namespace fulcrum {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20, kMaxIndexBytes = uint64_t{32} << 20;
constexpr std::string_view kConfig = "config.json", kGeneration = "generation_config.json",
                           kWeights = "model.safetensors", kIndex = "model.safetensors.index.json",
                           kEmbedding = "model.embed_tokens.weight", kHead = "lm_head.weight";

Result<Json> read_json_file(const Path& path) {
  TRY(text, read_file(path, kMaxConfigBytes));
  Result<Json> json = parse_json(text);
  if (!json.ok()) return json.status().with_context(in_quotes(path.string()));
  return json;
}

// What generation stops at is in a file of its own; chat models list more ids there than in config.json.
Status add_generation_eos(const Path& path, ModelSpec& spec) {
  const Result<Json> json = read_json_file(path);
  if (json.status().code() == Code::kNotFound) return ok_status();
  TRY_DO(json);
  if (!json->is_object() || !json->contains("eos_token_id") || (*json)["eos_token_id"].is_null())
    return ok_status();
  const Json& eos = (*json)["eos_token_id"];
  for (const Json& id : eos.is_array() ? eos : Json::array({eos})) {
    if (!id.is_number_integer() || id < 0 || id >= spec.vocab_size) {
      return invalid_argument(in_quotes(path.string()) +
                              ": key 'eos_token_id' must hold tokens below vocab_size");
    }
    const TokenId token = id.get<TokenId>();
    if (std::find(spec.eos_token_ids.begin(), spec.eos_token_ids.end(), token) == spec.eos_token_ids.end()) {
      spec.eos_token_ids.push_back(token);
    }
  }
  return ok_status();
}

// A shard is a plain name inside the folder: an index must not reach other files of this machine.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

// tensor -> shard, from the index.
Result<std::map<std::string, std::string>> read_index(const Path& path) {
  TRY(text, read_file(path, kMaxIndexBytes));
  const std::string where = in_quotes(path.string());
  Result<SortedJson> index = parse_sorted_json(text);
  if (!index.ok()) return index.status().with_context(where);
  if (!index->is_object() || !index->contains("weight_map") || !(*index)["weight_map"].is_object()) {
    return invalid_argument(where + ": key 'weight_map' is missing or not an object");
  }
  std::map<std::string, std::string> out;
  for (const auto& [tensor, file] : (*index)["weight_map"].items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>())) {
      return invalid_argument(where + ": tensor " + in_quotes(tensor) + " is not in a file of this folder");
    }
    out.emplace(tensor, file.get<std::string>());
  }
  return out;
}

Result<TensorMap> read_shards(const Path& folder) {
  TRY(index, read_index(folder / kIndex));
  std::set<std::string> files;
  for (const auto& [tensor, file] : index) files.insert(file);
  TensorMap out;
  for (const std::string& file : files) {
    TRY(shard, read_safetensors(folder / file));
    for (auto& [name, tensor] : shard.tensors) {
      const auto it = index.find(name);
      if (it == index.end() || it->second != file) {
        return invalid_argument(in_quotes((folder / file).string()) + ": tensor " + in_quotes(name) +
                                " is not there in the index");
      }
      out.emplace(name, std::move(tensor));
    }
  }
  for (const auto& [name, file] : index) {
    if (!out.contains(name)) {
      return invalid_argument(in_quotes((folder / file).string()) + ": tensor " + in_quotes(name) +
                              " of the index is missing");
    }
  }
  return out;
}

Result<TensorMap> read_weights(const Path& folder) {
  if (std::filesystem::exists(folder / kWeights)) {
    TRY(file, read_safetensors(folder / kWeights));
    return std::move(file.tensors);
  }
  if (std::filesystem::exists(folder / kIndex)) return read_shards(folder);
  return not_found(in_quotes(folder.string()) + " has neither " + std::string(kWeights) + " nor " +
                   std::string(kIndex) + "; other weight files must be converted to safetensors first");
}

bool same_values(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape && std::ranges::equal(a.bytes, b.bytes);
}

// Older exports hold rotary frequencies, which the config determines, and a copy of a tied embedding.
Status drop_redundant(const ModelSpec& spec, TensorMap& tensors) {
  std::erase_if(tensors, [](const auto& entry) { return entry.first.ends_with(".rotary_emb.inv_freq"); });
  const auto head = tensors.find(std::string(kHead)), embedding = tensors.find(std::string(kEmbedding));
  if (!spec.tie_word_embeddings || head == tensors.end() || embedding == tensors.end()) return ok_status();
  if (!same_values(head->second, embedding->second)) {
    return invalid_argument(
        "config.json ties the embeddings but 'lm_head.weight' differs from them; set tie_word_embeddings to "
        "false");
  }
  tensors.erase(head);
  return ok_status();
}

// The name under which transformers looks for a tokenizer file.
std::string exported_name(const Path& file) {
  return file.extension() == ".model" ? "tokenizer.model" : file.filename().string();
}

Status copy_tokenizer(const Path& folder, std::span<const Path> files, bool has_bos) {
  std::set<std::string, std::less<>> taken{std::string(kConfig), std::string(kGeneration),
                                           std::string(kWeights)};
  for (const Path& file : files) {
    const std::string name = exported_name(file);
    if (!taken.insert(name).second) {
      return invalid_argument("tokenizer file " + in_quotes(file.string()) + " would overwrite " +
                              in_quotes(name) + " of the model");
    }
    TRY(bytes, read_file(file));
    TRY_DO(write_file_atomic(folder / name, bytes));
  }
  // A SentencePiece model alone: with a BOS it is taken for Llama's, whose BOS goes before every text.
  if (!has_bos || !taken.contains("tokenizer.model") || taken.contains("tokenizer_config.json"))
    return ok_status();
  return write_file_atomic(folder / "tokenizer_config.json", kLlamaTokenizerConfig);
}

Json generation_config(const Json& config) {
  Json out;
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (!config[key].is_null()) out[key] = config[key];
  }
  return out.is_null() ? Json::object() : out;
}

}  // namespace

Result<Model> load_hf_folder(const Path& folder) {
  TRY(config, read_json_file(folder / kConfig));
  Result<ModelSpec> spec = parse_model_config(config);
  if (!spec.ok()) return spec.status().with_context(in_quotes((folder / kConfig).string()));
  TRY_DO(add_generation_eos(folder / kGeneration, *spec));
  TRY(tensors, read_weights(folder));
  Status status = drop_redundant(*spec, tensors);
  if (status.ok()) status = check_tensors(*spec, tensors);
  if (!status.ok()) return status.with_context(in_quotes(folder.string()));
  spec->dtype = tensors.at(std::string(kEmbedding)).dtype;
  return Model{std::move(spec).value(), std::move(tensors), folder};
}

Status write_model(const Path& folder, const Model& model, std::span<const Path> tokenizer_files) {
  TRY_DO(check_tensors(model.spec, model.tensors).with_context("model to write"));
  ModelSpec spec = model.spec;
  spec.dtype = model.tensors.at(std::string(kEmbedding)).dtype;
  const Json config = model_config_json(spec);
  TRY_DO(write_safetensors(folder / kWeights, model.tensors, {{"format", "pt"}}));
  TRY_DO(copy_tokenizer(folder, tokenizer_files, spec.bos_token_id.has_value()));
  TRY_DO(write_file_atomic(folder / kGeneration, dump_json(generation_config(config), 2) + "\n"));
  return write_file_atomic(folder / kConfig, dump_json(config, 2) + "\n");
}

}  // namespace fulcrum
