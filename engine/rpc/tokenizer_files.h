// The files of a job's tokenizer on their way from the learner to its workers. A value; no generated header,
// so that programs may have it beside LibTorch's.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace fulcrum {

struct TokenizerFiles {
  std::vector<std::pair<std::string, std::string>> files;  // plain name, bytes
  std::string hash;                                        // Tokenizer::content_hash()
  std::string splitter;                                    // TokenizerOptions::splitter
  std::string entry;                                       // which file to load; empty: the folder of them
};

}  // namespace fulcrum
