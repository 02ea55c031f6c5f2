#include "engine/reference/compare_models.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "engine/core/text.h"
#include "policy/text/tokenizer.h"

namespace fulcrum {
namespace {

template <class T>
std::string difference(const char* key, const T& a, const T& b) {
  if (a == b) return "";
  if constexpr (std::is_same_v<T, std::string>) {
    return std::string(key) + " is " + in_quotes(a) + " and " + in_quotes(b);
  } else {
    return std::string(key) + " is " + std::to_string(a) + " and " + std::to_string(b);
  }
}

// What the shapes of the tensors cannot show.
std::string architecture_difference(const ModelSpec& a, const ModelSpec& b) {
  const std::array differences = {
      difference("model_type", a.model_type, b.model_type),
      difference("num_attention_heads", a.num_attention_heads, b.num_attention_heads),
      difference("num_key_value_heads", a.num_key_value_heads, b.num_key_value_heads),
      difference("rope_theta", a.rope_theta, b.rope_theta),
      difference("head_dim", a.head_dim, b.head_dim),
      difference("rms_norm_eps", a.rms_norm_eps, b.rms_norm_eps),
      difference("rope_scaling's factor", a.rope_scaling ? a.rope_scaling->factor : 1.0,
                 b.rope_scaling ? b.rope_scaling->factor : 1.0)};
  for (const std::string& d : differences) {
    if (!d.empty()) return d;
  }
  return "";
}

bool same_ids(const Tokenizer& x, const Tokenizer& y, const std::string& text) {
  const auto a = x.encode(text, /*add_special=*/false), b = y.encode(text, /*add_special=*/false);
  return a.ok() == b.ok() && (!a.ok() || *a == *b);
}

// What two tokenizers do differently, whatever files they came from.
std::string difference_in_ids(const Tokenizer& x, const Tokenizer& y) {
  if (x.vocab_size() != y.vocab_size())
    return difference("the tokenizers' size", x.vocab_size(), y.vocab_size());
  if (x.bos() != y.bos() || x.eos() != y.eos() || x.pad() != y.pad())
    return "the tokenizers have other BOS, EOS or padding ids";
  for (TokenId id = 0; id < x.vocab_size(); ++id) {
    const std::string in_x = x.decode({&id, 1}), in_y = y.decode({&id, 1});
    if (in_x != in_y)
      return "token " + std::to_string(id) + " is " + in_quotes(in_x) + " and " + in_quotes(in_y);
    if (x.is_special(id) != y.is_special(id))
      return "only one tokenizer takes token " + std::to_string(id) + " for special";
    if (!same_ids(x, y, in_x)) return "the tokenizers split " + in_quotes(in_x) + " in different ways";
  }
  return "";
}

std::string tokenizer_difference(const Ingredient& a, const Ingredient& b) {
  if (a.tokenizer_hash.empty() || b.tokenizer_hash.empty() || a.tokenizer_hash == b.tokenizer_hash) return "";
  const auto x = load_tokenizer(a.model.folder), y = load_tokenizer(b.model.folder);
  if (!x.ok() || !y.ok()) return difference("the tokenizers' hash", a.tokenizer_hash, b.tokenizer_hash);
  if (std::string d = difference_in_ids(**x, **y); !d.empty()) return d;
  return chat_template(a.model.folder) == chat_template(b.model.folder) ? "" : "the chat templates differ";
}

std::vector<std::string> names_in_one_only(const TensorMap& a, const TensorMap& b) {
  std::vector<std::string> left, right, out;
  for (const auto& [name, tensor] : a) left.push_back(name);
  for (const auto& [name, tensor] : b) right.push_back(name);
  std::set_symmetric_difference(left.begin(), left.end(), right.begin(), right.end(),
                                std::back_inserter(out));
  return out;
}

Comparison compare_tensors(const TensorMap& a, const TensorMap& b) {
  const std::vector<std::string> lone = names_in_one_only(a, b);
  if (!lone.empty()) return {Mismatch::kKeys, lone, "only one has tensor " + in_quotes(lone[0])};
  for (const auto& [name, left] : a) {
    const TensorView& right = b.at(name);
    if (left.shape == right.shape) continue;
    return {Mismatch::kShape,
            {name},
            "tensor " + in_quotes(name) + " has shape " + shape_text(left.shape) + " and " +
                shape_text(right.shape)};
  }
  for (const auto& [name, left] : a) {
    const TensorView& right = b.at(name);
    if (left.dtype == right.dtype || (is_floating(left.dtype) && is_floating(right.dtype))) continue;
    return {Mismatch::kDtypeClass,
            {name},
            "tensor " + in_quotes(name) + " holds " + std::string(dtype_name(left.dtype)) + " and " +
                std::string(dtype_name(right.dtype))};
  }
  return {};
}

}  // namespace

Comparison compare_models(const Ingredient& a, const Ingredient& b) {
  if (std::string d = architecture_difference(a.model.spec, b.model.spec); !d.empty())
    return {Mismatch::kArchitecture, {}, d};
  if (std::string d = tokenizer_difference(a, b); !d.empty()) return {Mismatch::kTokenizer, {}, d};
  if (Comparison tensors = compare_tensors(a.model.tensors, b.model.tensors);
      tensors.kind != Mismatch::kNone) {
    return tensors;
  }
  if (a.model.spec.tie_word_embeddings != b.model.spec.tie_word_embeddings) {
    return {Mismatch::kTying, {}, "only one ties its output weight to the embedding"};
  }
  if (!a.base_hash.empty() && !b.base_hash.empty() && a.base_hash != b.base_hash) {
    return {Mismatch::kBase, {}, "they were tuned from different base models"};
  }
  return {};
}

std::string misfit(const Ingredient& a, const Ingredient& b, const Comparison& comparison) {
  return printable(a.name) + " and " + printable(b.name) + " do not fit: " + comparison.what;
}

Status check_same_kind(const Ingredient& a, const Ingredient& b) {
  const Comparison comparison = compare_models(a, b);
  if (comparison.kind == Mismatch::kNone || comparison.kind == Mismatch::kBase) return ok_status();
  return invalid_argument(misfit(a, b, comparison));
}

}  // namespace fulcrum
