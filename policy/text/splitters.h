// Pre-tokenisation: cutting text into the words that BPE works on. The patterns that tokenizers publish as
// regular expressions are written here by hand, one matcher each; an unknown pattern is an error, never a
// guess. Called by the BPE tokenizer and its readers. Pure functions, thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum {

enum class Splitter {
  kGpt2,       // 's|'t|... | ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kCl100k,     // contractions in any case, one leading mark before letters, numbers by three; Llama-3's too
  kQwen2,      // the same with single digits
  kDigitRuns,  // runs of numbers apart from the rest
  kSingleDigits,     // every number character apart
  kBeforeSpaceMark,  // a word begins at every U+2581
};

// Appends the words of `text`, in order; together they are the text.
void split_words(Splitter splitter, std::string_view text, std::vector<std::string_view>& words);

// Those that a user may choose: "gpt2", "cl100k", "llama3", "qwen2".
std::vector<std::string> splitter_names();
// kInvalidArgument for another name.
Result<Splitter> splitter_by_name(std::string_view name);
// How a user chooses one, for messages: the option of the tools and the key of a job.
std::string splitter_choice();
// That one was chosen for a tokenizer that cuts no text into words by a pattern.
Status splitter_not_used();

// The splitter of a published regular expression, spelled as its authors spell it.
std::optional<Splitter> splitter_of_pattern(std::string_view regex);

}  // namespace fulcrum
