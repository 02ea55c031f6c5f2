#include "engine/cli/engine/study/inputs.h"

#include "policy/text/make_tokenizer.h"
#include "policy/text/tokenizer.h"
#include "policy/weights/model_spec.h"

namespace fulcrum::cli {

Status write_rows(const Path& file, const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows) text += dump_json(row) + "\n";
  return write_file_atomic(file, text);
}

Status write_small_model(const Path& folder, std::string_view characters, const StudyModel& size,
                         uint64_t seed) {
  TRY_DO(make_folders(folder));
  TRY_DO(write_character_tokenizer(folder, characters));
  TRY(tokenizer, load_tokenizer(folder));
  ModelSpec spec;
  spec.vocab_size = tokenizer->vocab_size();
  spec.hidden_size = size.hidden_size;
  spec.intermediate_size = (size.hidden_size * 11 / 4 + 15) / 16 * 16;
  spec.num_hidden_layers = size.num_hidden_layers;
  spec.num_attention_heads = spec.num_key_value_heads = size.num_attention_heads;
  spec.head_dim = size.hidden_size / size.num_attention_heads;
  spec.max_position_embeddings = size.max_position_embeddings;
  spec.pad_token_id = 0;
  spec.bos_token_id = 1;
  spec.eos_token_ids = {2};
  return write_model(folder, random_model(spec, seed), tokenizer->files());
}

}  // namespace fulcrum::cli
