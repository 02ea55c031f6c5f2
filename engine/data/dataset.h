// The data set: JSONL files as tokenised rows, and their order. Everything is read, checked and tokenised
// once, so that a bad row is an error before the first step, not in the middle of the night. Called by the
// pipeline and the `data` verb. Thread-safe once the rows to keep are chosen.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/status.h"
#include "engine/types/rollout.h"
#include "engine/types/row_format.h"
#include "policy/text/tokenizer.h"

namespace fulcrum {

struct DataRow {
  Prompt prompt;                    // its ids are never empty
  std::vector<TokenId> completion;  // kCompletion; kPreference: the chosen answer
  std::vector<TokenId> rejected;    // kPreference
};

// Rows that were left out because they cannot be used.
struct BadRows {
  int64_t count = 0;
  std::string first;  // "file:line: what"
};

struct DatasetOptions {
  std::vector<std::string> files;  // read in this order as one data set
  RowFormat format = RowFormat::kPrompt;
  int64_t max_prompt_length = 512;  // kPrompt
  int64_t context = 0;              // kPrompt: the model's, of which an answer needs a part; 0: not known
  int64_t max_length = 1024;        // the others: prompt and one answer
  bool drop_overlong = false;       // leave out what is longer; else it is an error
  bool leave_out_bad = false;       // and count them; else the first is an error
  bool shuffle = true;
  bool append_eos = true;  // end answers with the tokenizer's EOS, if it has one
  uint64_t seed = 0;
};

class Dataset {
 public:
  // kInvalidArgument "file:line: what" (or a bad row that is left out) for a broken row, a missing column, a
  // prompt without tokens, a row that is too long, an id the model does not have; also for no rows at all.
  static Result<Dataset> open(const DatasetOptions& options, const Tokenizer& tokenizer, int64_t vocab_size);

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  int64_t dropped() const { return dropped_; }  // overlong rows left out
  const BadRows& bad_rows() const { return bad_rows_; }
  // Row i of [0, size()), in file order.
  const DataRow& row(int64_t i) const { return rows_[static_cast<size_t>(i)]; }

  // From now on the order is over these rows only (DPH-RL explores a part of the prompts); row() still gives
  // all. kInvalidArgument for none, or for one outside [0, size()).
  Status keep_rows(std::vector<int64_t> rows);

  // Which rows stand at positions [begin, begin + count) of the endless sequence of epochs: a pure function
  // of (seed, position). Each epoch has a permutation of its own.
  std::vector<int64_t> order(int64_t begin, int64_t count) const;

  // The rows of one optimizer step: pure in (seed, step). Valid as long as the data set.
  std::vector<const DataRow*> step_rows(int64_t step, int64_t rows_per_step) const;

 private:
  std::vector<DataRow> rows_;
  std::vector<int64_t> kept_;  // indices into rows_, in file order
  int64_t dropped_ = 0;
  BadRows bad_rows_;
  uint64_t seed_ = 0;
  bool shuffle_ = true;
};

}  // namespace fulcrum
