// From a path to a tokenizer: finds the format and the files that go with it.
#include <algorithm>
#include <utility>

#include "engine/core/text.h"
#include "policy/text/sentencepiece_tokenizer.h"
#include "policy/text/tokenizer.h"
#include "policy/text/vocabulary_readers.h"
#include "policy/weights/model_spec.h"

namespace fulcrum {
namespace {

using Loaded = Result<std::shared_ptr<const Tokenizer>>;

constexpr size_t kMaxGgufHead = size_t{1} << 28;  // metadata of published files: some 10 MB

bool is_file(const Path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

// The only file in the folder that ends so, or "".
Path only_file(const Path& folder, std::string_view ending) {
  std::error_code error;
  Path found;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (!it->path().filename().string().ends_with(ending) || !is_file(it->path())) continue;
    if (!found.empty()) return {};
    found = it->path();
  }
  return found;
}

Result<Path> main_file(const Path& folder) {
  std::vector<Path> candidates = {folder / "tokenizer.json",   folder / "tokenizer.model",
                                  only_file(folder, ".model"), folder / "vocab.json",
                                  folder / "encoder.json",     only_file(folder, ".tiktoken"),
                                  only_file(folder, ".gguf"),  folder / "tokenizer_config.json"};
  const auto first = std::find_if(candidates.begin(), candidates.end(), is_file);
  if (first != candidates.end()) return *first;
  return not_found(
      "no tokenizer in " + in_quotes(folder.string()) +
      " (looked for tokenizer.json, one *.model, vocab.json, encoder.json, one *.tiktoken, one *.gguf)");
}

Result<std::optional<Splitter>> chosen_splitter(const TokenizerOptions& options, SourceFiles& sources) {
  if (options.splitter.empty()) return std::optional<Splitter>();
  TRY(splitter, splitter_by_name(options.splitter));
  sources.add_choice(options.splitter);
  return std::optional(splitter);
}

Status splitter_needed(const std::string& why) {
  return invalid_argument(why + " does not say how text is cut into words: give " + splitter_choice());
}

// Adds what the small files say, and seals.
Loaded finish(BpeSpec spec, const TokenConfig& config, bool has_template, SourceFiles& sources) {
  const auto find = [&](std::string_view content) { return find_token(spec, content); };
  TRY(special, resolve_special_tokens(config, spec.special, find, static_cast<int64_t>(spec.pieces.size())));
  spec.special = special;
  if (!has_template) use_flags_as_template(spec);
  add_choice(special, sources);
  return make_bpe_tokenizer(std::move(spec), sources.finish());
}

Loaded load_tokenizer_json(const Path& path, const TokenizerOptions& options) {
  SourceFiles sources;
  TRY(text, sources.read(path));
  TRY(config, read_token_config(path.parent_path(), sources));
  TRY(splitter, chosen_splitter(options, sources));
  TRY(json, read_tokenizer_json(text, splitter));
  sources.add_companions(path.parent_path());
  return finish(std::move(json.spec), config, json.has_template, sources);
}

Loaded load_merges_files(const Path& path, const TokenizerOptions& options) {
  SourceFiles sources;
  const Path folder = path.parent_path();
  const bool gpt2_names = path.filename() == "encoder.json";
  const Path merges_path = folder / (gpt2_names ? "vocab.bpe" : "merges.txt");
  TRY(vocab, sources.read(path));
  TRY(merges, sources.read(merges_path));
  TRY(config, read_token_config(folder, sources));
  TRY(splitter, chosen_splitter(options, sources));
  if (!splitter && (gpt2_names || config.tokenizer_class.starts_with("GPT2"))) splitter = Splitter::kGpt2;
  if (!splitter && config.tokenizer_class.starts_with("Qwen2")) splitter = Splitter::kQwen2;
  if (!splitter)
    return splitter_needed("a vocab.json without a tokenizer_config.json of class GPT2 or Qwen2");
  TRY(spec, read_merges_files(vocab, merges, *splitter));
  if (config.add_prefix_space) spec.before_split.push_back({TextStep::kPrependUnlessThere, " ", ""});
  for (const AddedToken& token : config.added) TRY_DO(add_token(spec, token));
  sources.add_companions(folder);
  return finish(std::move(spec), config, false, sources);
}

Loaded load_tiktoken(const Path& path, const TokenizerOptions& options) {
  SourceFiles sources;
  TRY(text, sources.read(path));
  TRY(splitter, chosen_splitter(options, sources));
  const std::string name = options.splitter == "llama3" ? "llama3" : path.stem().string();
  if (!splitter) splitter = splitter_of_encoding(name);
  if (!splitter) return splitter_needed("a ranks file of this name");
  sources.add_choice(name);
  TRY(spec, read_tiktoken(text, name, *splitter));
  use_flags_as_template(spec);
  return make_bpe_tokenizer(std::move(spec), sources.finish());
}

Status no_splitter_here(const TokenizerOptions& options) {
  return options.splitter.empty() ? ok_status() : splitter_not_used();
}

Loaded load_model_file(const Path& path, const TokenizerOptions& options) {
  SourceFiles sources;
  TRY(bytes, sources.read(path));
  // Llama-3's original tokenizer.model holds ranks as text; a SentencePiece model begins with the tag of its
  // first piece.
  if (!bytes.empty() && bytes[0] != '\n') return load_tiktoken(path, options);
  TRY_DO(no_splitter_here(options));
  TRY(config, read_token_config(path.parent_path(), sources));
  sources.add_companions(path.parent_path());
  return make_sentencepiece_tokenizer(bytes, config, sources);
}

Loaded load_gguf(const Path& path, const TokenizerOptions& options) {
  SourceFiles sources;
  TRY(file, MappedFile::open(path));
  const auto head = file->bytes().first(std::min(file->bytes().size(), kMaxGgufHead));
  TRY(metadata, read_gguf_metadata(head));
  TRY(splitter, chosen_splitter(options, sources));
  TRY(spec, read_gguf_vocabulary(metadata, splitter));
  sources.add_bytes({reinterpret_cast<const char*>(head.data()), metadata.bytes});
  // With weights in it, the file is the model, not something to lie beside it.
  if (metadata.tensor_count == 0) sources.add_companion(path);
  return make_bpe_tokenizer(std::move(spec), sources.finish());
}

Loaded load_llama2c(const Path& path, const TokenizerOptions& options) {
  if (is_llama2c_checkpoint(path))
    return invalid_argument("these are a model's weights; name its tokenizer's file or folder instead");
  SourceFiles sources;
  TRY_DO(no_splitter_here(options));
  TRY(bytes, sources.read(path));
  TRY(spec, read_llama2c_vocabulary(bytes));
  return make_bpe_tokenizer(std::move(spec), sources.finish());
}

Loaded load_character_table(const Path& path, const TokenizerOptions& options) {
  SourceFiles sources;
  TRY_DO(no_splitter_here(options));
  TRY(text, sources.read(path));
  TRY(config, parse_json(text));
  TRY(spec, read_character_table(config));
  return make_bpe_tokenizer(std::move(spec), sources.finish());
}

Loaded load_file(const Path& path, const TokenizerOptions& options) {
  const std::string name = path.filename().string();
  if (name == "vocab.json" || name == "encoder.json") return load_merges_files(path, options);
  if (name == "vocab.bpe") return load_merges_files(path.parent_path() / "encoder.json", options);
  if (name == "merges.txt") return load_merges_files(path.parent_path() / "vocab.json", options);
  if (name == "tokenizer_config.json") return load_character_table(path, options);
  if (name.ends_with(".json")) return load_tokenizer_json(path, options);
  if (name.ends_with(".tiktoken")) return load_tiktoken(path, options);
  if (name.ends_with(".gguf")) return load_gguf(path, options);
  if (name.ends_with(".bin")) return load_llama2c(path, options);
  if (name.ends_with(".model") || name.find(".model.") != std::string::npos)
    return load_model_file(path, options);
  return invalid_argument(
      "not the name of a tokenizer file; give a model folder, tokenizer.json, vocab.json, encoder.json, or a "
      ".model, "
      ".tiktoken, .gguf or llama2.c .bin file");
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer(const Path& path, const TokenizerOptions& options) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return not_found("no tokenizer at " + in_quotes(path.string()));
  Path file = path;
  if (std::filesystem::is_directory(path, ignored)) {
    TRY(found, main_file(path));
    file = found;
  }
  auto tokenizer = load_file(file, options);
  if (!tokenizer.ok()) return tokenizer.status().with_context("tokenizer " + in_quotes(file.string()));
  return tokenizer;
}

}  // namespace fulcrum
