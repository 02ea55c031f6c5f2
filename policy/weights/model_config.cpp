// config.json of a Hugging Face checkpoint, read and written.
#include <algorithm>
#include <array>
#include <utility>

#include "engine/core/text.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {
namespace {

// Above these a config is a mistake or an attack; below them every product of sizes fits into 64 bits.
constexpr int64_t kMaxVocab = int64_t{1} << 24, kMaxWidth = int64_t{1} << 20, kMaxLayers = 4096,
                  kMaxHeads = 4096, kMaxPositions = int64_t{1} << 31;

struct Family {
  std::string_view model_type;
  std::string_view architecture;
  std::string_view with_score_head;
};
constexpr std::array<Family, 3> kFamilies{
    {{"llama", "LlamaForCausalLM", "LlamaForSequenceClassification"},
     {"mistral", "MistralForCausalLM", "MistralForSequenceClassification"},
     {"qwen2", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"}}};

// Absent and null mean the same in these files.
const Json* find(const Json& config, std::string_view key) {
  const auto it = config.find(std::string(key));
  return it == config.end() || it->is_null() ? nullptr : &*it;
}

Status bad_value(std::string_view key, const std::string& why) {
  return invalid_argument("key " + in_quotes(key) + " " + why);
}

Result<int64_t> read_size(const Json& config, std::string_view key, int64_t max,
                          std::optional<int64_t> fallback = {}) {
  if (fallback && find(config, key) == nullptr) return *fallback;
  TRY(value, get_int(config, key));
  if (value < 1 || value > max) {
    return bad_value(key, "is " + std::to_string(value) + "; it must be 1 to " + std::to_string(max));
  }
  return value;
}

Result<double> read_positive(const Json& config, std::string_view key, std::optional<double> fallback = {}) {
  if (fallback && find(config, key) == nullptr) return *fallback;
  TRY(value, get_double(config, key));
  if (!(value > 0 && value < 1e30)) return bad_value(key, "must be a positive number");
  return value;
}

Result<bool> read_flag(const Json& config, std::string_view key) {
  const Json* value = find(config, key);
  if (value == nullptr) return false;
  if (!value->is_boolean()) return bad_value(key, "must be true or false");
  return value->get<bool>();
}

Result<std::string> read_text(const Json& config, std::string_view key, std::string_view fallback) {
  if (find(config, key) == nullptr) return std::string(fallback);
  return get_string(config, key);
}

Result<TokenId> read_token(const Json& value, std::string_view key, int64_t vocab_size) {
  if (!value.is_number_integer() || value < 0 || value >= vocab_size) {
    return bad_value(key, "must be a token below vocab_size " + std::to_string(vocab_size));
  }
  return value.get<TokenId>();
}

// transformers counts the labels in id2label; without it there are two.
int64_t count_labels(const Json& config) {
  if (const Json* labels = find(config, "id2label"); labels != nullptr)
    return static_cast<int64_t>(labels->size());
  const Json* count = find(config, "num_labels");
  return count != nullptr && count->is_number_integer() ? count->get<int64_t>() : 2;
}

// Family and head.
Status read_family(const Json& config, ModelSpec& spec) {
  TRY(type, get_string(config, "model_type"));
  const auto family =
      std::find_if(kFamilies.begin(), kFamilies.end(), [&](const Family& f) { return f.model_type == type; });
  if (family == kFamilies.end()) {
    return bad_value("model_type",
                     "is " + in_quotes(type) + "; supported are llama (SmolLM2 too), mistral and qwen2");
  }
  spec.model_type = type;
  const Json* architectures = find(config, "architectures");
  if (architectures == nullptr) return ok_status();
  const auto named = [&](std::string_view architecture) {
    return architectures->is_array() && std::any_of(architectures->begin(), architectures->end(),
                                                    [&](const Json& a) { return a == architecture; });
  };
  if (named(family->architecture)) return ok_status();
  if (!named(family->with_score_head)) {
    return bad_value("architectures", "must name " + std::string(family->architecture) + " or " +
                                          std::string(family->with_score_head));
  }
  spec.score_head = true;
  if (const int64_t labels = count_labels(config); labels != 1) {
    return bad_value("id2label", "has " + std::to_string(labels) + " labels; a reward model has one");
  }
  return ok_status();
}

// What the forward pass does not do must not be in the file: a model read anyway would be silently another
// one.
Status check_supported(const Json& config, const std::string& type) {
  TRY(activation, read_text(config, "hidden_act", "silu"));
  if (activation != "silu")
    return bad_value("hidden_act", "is " + in_quotes(activation) + "; only silu is supported");
  if (find(config, "quantization_config") != nullptr) {
    return bad_value("quantization_config",
                     "is set; quantised checkpoints are not supported, use the original one");
  }
  TRY(mlp_bias, read_flag(config, "mlp_bias"));
  if (mlp_bias) return bad_value("mlp_bias", "is true, which is not supported");
  TRY(attention_bias, read_flag(config, "attention_bias"));
  if (attention_bias && type != "qwen2") {
    return bad_value("attention_bias", "is true; with model_type " + type +
                                           " that is a bias on o_proj too, which is not supported");
  }
  return ok_status();
}

Status read_rope(const Json& config, ModelSpec& spec) {
  // transformers 5 moved rope_theta and the scaling into one object.
  const Json* parameters = find(config, "rope_parameters");
  const Json* scaling = parameters != nullptr ? parameters : find(config, "rope_scaling");
  if (scaling != nullptr && !scaling->is_object()) return bad_value("rope_scaling", "must be an object");
  TRY(theta, read_positive(parameters != nullptr && find(*parameters, "rope_theta") ? *parameters : config,
                           "rope_theta", 10000.0));
  spec.rope_theta = theta;
  if (scaling == nullptr) return ok_status();
  TRY(older_name, read_text(*scaling, "type", "default"));
  TRY(type, read_text(*scaling, "rope_type", older_name));
  if (type == "default") return ok_status();
  if (type != "llama3") {
    return bad_value("rope_scaling", "has type " + in_quotes(type) + "; only llama3 is supported");
  }
  RopeScaling rope;
  TRY(factor, read_positive(*scaling, "factor"));
  TRY(low, read_positive(*scaling, "low_freq_factor"));
  TRY(high, read_positive(*scaling, "high_freq_factor"));
  TRY(original, read_size(*scaling, "original_max_position_embeddings", kMaxPositions));
  if (factor < 1) return bad_value("rope_scaling.factor", "must be at least 1");
  if (high <= low) return bad_value("rope_scaling.high_freq_factor", "must be above low_freq_factor");
  rope.factor = factor;
  rope.low_freq_factor = low;
  rope.high_freq_factor = high;
  rope.original_max_position_embeddings = original;
  spec.rope_scaling = rope;
  return ok_status();
}

// Attention here is over the whole past. Up to the window that is the same function, so the window becomes
// the limit.
Status limit_to_window(const Json& config, ModelSpec& spec) {
  if (spec.model_type == "qwen2") {
    TRY(windowed, read_flag(config, "use_sliding_window"));
    if (!windowed) return ok_status();
  } else if (spec.model_type != "mistral") {
    return ok_status();
  }
  if (config.contains("sliding_window") && config["sliding_window"].is_null()) return ok_status();
  TRY(window, read_size(config, "sliding_window", kMaxPositions, 4096));  // 4096: both families' default
  spec.max_position_embeddings = std::min(spec.max_position_embeddings, window);
  return ok_status();
}

Status read_sizes(const Json& config, ModelSpec& spec) {
  TRY(vocab, read_size(config, "vocab_size", kMaxVocab));
  TRY(hidden, read_size(config, "hidden_size", kMaxWidth));
  TRY(intermediate, read_size(config, "intermediate_size", kMaxWidth));
  TRY(layers, read_size(config, "num_hidden_layers", kMaxLayers));
  TRY(heads, read_size(config, "num_attention_heads", kMaxHeads));
  // Llama's first checkpoints had no grouped heads; the other families always write the key.
  if (spec.model_type != "llama" && find(config, "num_key_value_heads") == nullptr) {
    return bad_value("num_key_value_heads", "is missing");
  }
  TRY(kv_heads, read_size(config, "num_key_value_heads", kMaxHeads, heads));
  if (heads % kv_heads != 0) return bad_value("num_key_value_heads", "must divide num_attention_heads");
  if (find(config, "head_dim") == nullptr && hidden % heads != 0) {
    return bad_value("num_attention_heads", "must divide hidden_size where head_dim is not given");
  }
  TRY(head_dim, read_size(config, "head_dim", kMaxWidth, std::max<int64_t>(1, hidden / heads)));
  if (head_dim % 2 != 0) return bad_value("head_dim", "must be even for rotary embeddings");
  TRY(positions, read_size(config, "max_position_embeddings", kMaxPositions, 2048));
  spec.vocab_size = vocab;
  spec.hidden_size = hidden;
  spec.intermediate_size = intermediate;
  spec.num_hidden_layers = layers;
  spec.num_attention_heads = heads;
  spec.num_key_value_heads = kv_heads;
  spec.head_dim = head_dim;
  spec.max_position_embeddings = positions;
  return limit_to_window(config, spec);
}

Status read_tokens(const Json& config, ModelSpec& spec) {
  if (const Json* bos = find(config, "bos_token_id")) {
    TRY(id, read_token(*bos, "bos_token_id", spec.vocab_size));
    spec.bos_token_id = id;
  }
  if (const Json* eos = find(config, "eos_token_id")) {
    for (const Json& value : eos->is_array() ? *eos : Json::array({*eos})) {
      TRY(id, read_token(value, "eos_token_id", spec.vocab_size));
      spec.eos_token_ids.push_back(id);
    }
  }
  // Padding is never fed to the model, and files name -1 or an added token that has no row; those mean
  // "none".
  if (const Json* pad = find(config, "pad_token_id")) {
    if (const Result<TokenId> id = read_token(*pad, "pad_token_id", spec.vocab_size); id.ok())
      spec.pad_token_id = *id;
  }
  return ok_status();
}

std::string_view torch_dtype(DType dtype) {
  return dtype == DType::kBF16  ? "bfloat16"
         : dtype == DType::kF16 ? "float16"
         : dtype == DType::kF64 ? "float64"
                                : "float32";
}

Result<DType> read_dtype(const Json& config) {
  TRY(newer_name, read_text(config, "dtype", "float32"));
  TRY(name, read_text(config, "torch_dtype", newer_name));
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64}) {
    if (torch_dtype(dtype) == name) return dtype;
  }
  return bad_value("torch_dtype", "is " + in_quotes(name) + "; supported are float32, float16 and bfloat16");
}

Json rope_scaling_json(const std::optional<RopeScaling>& rope) {
  if (!rope) return nullptr;
  return {{"factor", rope->factor},
          {"high_freq_factor", rope->high_freq_factor},
          {"low_freq_factor", rope->low_freq_factor},
          {"original_max_position_embeddings", rope->original_max_position_embeddings},
          {"rope_type", "llama3"}};
}

}  // namespace

Result<ModelSpec> parse_model_config(const Json& config) {
  if (!config.is_object()) return invalid_argument("the model's config is not a JSON object");
  ModelSpec spec;
  TRY_DO(read_family(config, spec));
  TRY_DO(check_supported(config, spec.model_type));
  spec.attention_bias =
      spec.model_type == "qwen2";  // Qwen2's q, k and v always have one; its files have no key for it
  TRY_DO(read_sizes(config, spec));
  TRY(epsilon, read_positive(config, "rms_norm_eps", 1e-6));
  spec.rms_norm_eps = epsilon;
  TRY_DO(read_rope(config, spec));
  TRY(tied, read_flag(config, "tie_word_embeddings"));
  spec.tie_word_embeddings = tied;
  TRY_DO(read_tokens(config, spec));
  TRY(dtype, read_dtype(config));
  spec.dtype = dtype;
  return spec;
}

Json model_config_json(const ModelSpec& spec) {
  const auto token = [](const std::optional<TokenId>& id) { return id ? Json(*id) : Json(nullptr); };
  const auto family = std::find_if(kFamilies.begin(), kFamilies.end(),
                                   [&](const Family& f) { return f.model_type == spec.model_type; });
  Json out;
  if (family != kFamilies.end())
    out["architectures"] = {spec.score_head ? family->with_score_head : family->architecture};
  if (spec.score_head) {  // transformers makes a head of as many rows as there are labels
    out["id2label"] = {{"0", "LABEL_0"}};
    out["label2id"] = {{"LABEL_0", 0}};
  }
  out["attention_dropout"] = 0.0;
  out["bos_token_id"] = token(spec.bos_token_id);
  out["eos_token_id"] = spec.eos_token_ids.empty()       ? Json(nullptr)
                        : spec.eos_token_ids.size() == 1 ? Json(spec.eos_token_ids[0])
                                                         : Json(spec.eos_token_ids);
  out["pad_token_id"] = token(spec.pad_token_id);
  out["head_dim"] = spec.head_dim;
  out["hidden_act"] = "silu";
  out["hidden_size"] = spec.hidden_size;
  out["initializer_range"] = 0.02;
  out["intermediate_size"] = spec.intermediate_size;
  out["max_position_embeddings"] = spec.max_position_embeddings;
  out["model_type"] = spec.model_type;
  out["num_attention_heads"] = spec.num_attention_heads;
  out["num_hidden_layers"] = spec.num_hidden_layers;
  out["num_key_value_heads"] = spec.num_key_value_heads;
  out["rms_norm_eps"] = spec.rms_norm_eps;
  out["rope_scaling"] = rope_scaling_json(spec.rope_scaling);
  out["rope_theta"] = spec.rope_theta;
  // Without the key Mistral has a window of 4096.
  if (spec.model_type == "mistral") out["sliding_window"] = nullptr;
  if (spec.model_type == "qwen2") out["use_sliding_window"] = false;
  if (spec.model_type == "llama") {
    out["attention_bias"] = false;
    out["mlp_bias"] = false;
  }
  out["tie_word_embeddings"] = spec.tie_word_embeddings;
  out["torch_dtype"] = torch_dtype(spec.dtype);
  out["use_cache"] = true;
  out["vocab_size"] = spec.vocab_size;
  return out;
}

}  // namespace fulcrum
