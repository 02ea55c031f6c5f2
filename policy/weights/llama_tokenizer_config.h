// What stands beside a SentencePiece model that came without a tokenizer_config.json, so that `transformers`
// takes it for Llama's: written by write_model(), and passed over by the reader of tokenizers, to which it
// says nothing new. Pure.
#pragma once

#include <string_view>

namespace fulcrum {

inline constexpr std::string_view kLlamaTokenizerConfig =
    "{\n"
    "  \"tokenizer_class\": \"LlamaTokenizer\",\n"
    "  \"add_bos_token\": true,\n"
    "  \"add_eos_token\": false,\n"
    "  \"bos_token\": \"<s>\",\n"
    "  \"eos_token\": \"</s>\",\n"
    "  \"unk_token\": \"<unk>\"\n"
    "}\n";

}  // namespace fulcrum
