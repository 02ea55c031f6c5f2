// `fulcrum init-model`: a new model with random weights and a character tokenizer, to train from nothing.
#include <cstdio>

#include "engine/cli/verbs.h"
#include "engine/core/text.h"
#include "policy/text/make_tokenizer.h"
#include "policy/text/tokenizer.h"
#include "policy/weights/model_spec.h"

namespace fulcrum::cli {
namespace {

constexpr uint64_t kMaxAlphabet = 8 << 20;

struct Options {
  std::string folder, characters, characters_file, model_type = "llama";
  int64_t hidden_size = 128, layers = 4, heads = 4, kv_heads = 4, intermediate_size = 344,
          max_positions = 512;
  uint64_t seed = 0;
  bool tied = false;
};

Status make(const Options& o) {
  if (o.hidden_size % o.heads != 0 || o.heads % o.kv_heads != 0) {
    return invalid_argument("--hidden-size must be a multiple of --heads, and --heads of --kv-heads");
  }
  if (o.characters.empty() == o.characters_file.empty())
    return invalid_argument("name an alphabet: --characters, or --characters-file");
  std::string characters = o.characters;
  if (!o.characters_file.empty()) {
    TRY(text, read_file(o.characters_file, kMaxAlphabet));
    characters = std::move(text);
  }
  TRY_DO(make_folders(o.folder));
  TRY_DO(write_character_tokenizer(o.folder, characters));
  TRY(tokenizer, load_tokenizer(o.folder));
  ModelSpec spec;
  spec.model_type = o.model_type;
  spec.vocab_size = tokenizer->vocab_size();
  spec.hidden_size = o.hidden_size;
  spec.intermediate_size = o.intermediate_size;
  spec.num_hidden_layers = o.layers;
  spec.num_attention_heads = o.heads;
  spec.num_key_value_heads = o.kv_heads;
  spec.head_dim = o.hidden_size / o.heads;
  spec.max_position_embeddings = o.max_positions;
  spec.attention_bias = o.model_type == "qwen2";
  spec.tie_word_embeddings = o.tied;
  spec.pad_token_id = 0;
  spec.bos_token_id = 1;
  spec.eos_token_ids = {2};
  const Model model = random_model(spec, o.seed);
  TRY_DO(write_model(o.folder, model, tokenizer->files()));
  int64_t parameters = 0;
  for (const auto& [name, tensor] : model.tensors) parameters += tensor.numel();
  std::printf("%s: %s with %lld parameters, %lld tokens, seed %llu\n", printable(o.folder).c_str(),
              o.model_type.c_str(), static_cast<long long>(parameters),
              static_cast<long long>(spec.vocab_size), static_cast<unsigned long long>(o.seed));
  return ok_status();
}

}  // namespace

void add_init_model(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "init-model", "make a model with random weights and a character tokenizer",
      [](const Options& o) { return report(make(o)); },
      [](CLI::App& v, Options& o) {
        v.add_option("folder", o.folder, "where to write it")->required();
        v.add_option("--characters", o.characters, "the alphabet: one token a character");
        v.add_option("--characters-file", o.characters_file, "a file with a long alphabet instead");
        v.add_option("--model-type", o.model_type, "architecture")
            ->check(CLI::IsMember({"llama", "mistral", "qwen2"}))
            ->capture_default_str();
        v.add_option("--hidden-size", o.hidden_size)->check(CLI::Range(8, 1 << 16))->capture_default_str();
        v.add_option("--layers", o.layers)->check(CLI::Range(1, 1024))->capture_default_str();
        v.add_option("--heads", o.heads)->check(CLI::Range(1, 1024))->capture_default_str();
        v.add_option("--kv-heads", o.kv_heads)->check(CLI::Range(1, 1024))->capture_default_str();
        v.add_option("--intermediate-size", o.intermediate_size)
            ->check(CLI::Range(8, 1 << 18))
            ->capture_default_str();
        v.add_option("--max-positions", o.max_positions)
            ->check(CLI::Range(8, 1 << 22))
            ->capture_default_str();
        v.add_option("--seed", o.seed)->capture_default_str();
        v.add_flag("--tied", o.tied, "one matrix for embedding and output");
      });
}

}  // namespace fulcrum::cli
