// GPT-2's two-file form: vocab.json and merges.txt.
#include <string>
#include <utility>

#include "engine/core/json.h"
#include "engine/core/text.h"
#include "policy/text/byte_alphabet.h"
#include "policy/text/merge_list.h"
#include "policy/text/vocabulary_readers.h"

namespace fulcrum {

Result<BpeSpec> read_merges_files(std::string_view vocab_json, std::string_view merges, Splitter splitter) {
  TRY(vocab, parse_sorted_json(vocab_json));
  BpeSpec spec;
  spec.byte_level = true;
  use_splitter(spec, splitter);
  TRY(list, MergeList::from_vocabulary(vocab, spec));
  int64_t line_number = 0;
  while (!merges.empty()) {
    const size_t end = merges.find('\n');
    std::string_view line = merges.substr(0, end);
    merges.remove_prefix(end == std::string_view::npos ? merges.size() : end + 1);
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    TRY_DO(list.add_line(line, spec).with_context("line " + std::to_string(line_number) + " of the merges"));
  }
  return spec;
}

}  // namespace fulcrum
