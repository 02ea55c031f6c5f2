#include "engine/data/dataset.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "engine/core/files.h"
#include "engine/core/rng.h"
#include "engine/core/text.h"
#include "engine/data/jsonl.h"

namespace fulcrum {
namespace {

// The text of a column.
Result<std::string> text_column(const Json& row, const char* name) {
  const auto it = row.find(name);
  if (it == row.end() && row.contains("messages")) {
    return invalid_argument("the row has 'messages' but no " + in_quotes(name) + ": render the chat into " +
                            in_quotes(name) + " first, chat templates are not there yet");
  }
  if (it == row.end()) return invalid_argument("column " + in_quotes(name) + " is missing");
  if (it->is_array()) {
    return invalid_argument("column " + in_quotes(name) +
                            " is a chat: render it into text first, chat templates are not there yet");
  }
  if (!it->is_string())
    return invalid_argument("column " + in_quotes(name) + " must be text, not " + it->type_name());
  return it->get<std::string>();
}

// Turns JSON rows into tokenised ones.
class RowReader {
 public:
  RowReader(const DatasetOptions& options, const Tokenizer& tokenizer, int64_t vocab_size)
      : options_(options), tokenizer_(tokenizer), vocab_size_(vocab_size) {}

  // The row; none if it is longer than allowed and such rows are dropped.
  Result<std::optional<DataRow>> use(Result<Json> columns, int64_t index, const std::string& where) const {
    TRY(json, std::move(columns));
    Result<DataRow> row = read(std::move(json), index);
    if (!row.ok()) return row.status().with_context(where);
    const std::string long_by = too_long(*row);
    if (long_by.empty()) return std::optional(std::move(row).value());
    if (options_.drop_overlong) return std::optional<DataRow>();
    return invalid_argument(where + ": " + long_by);
  }

 private:
  Result<DataRow> read(Json columns, int64_t index) const {
    DataRow row;
    if (options_.format == RowFormat::kCompletion && !columns.contains("prompt") &&
        columns.contains("text")) {
      TRY_DO(split_text(columns, row));
    } else {
      TRY_DO(read_prompt(columns, row.prompt));
      if (options_.format == RowFormat::kCompletion)
        TRY_DO(read_answer(columns, "completion", row.completion));
      if (options_.format == RowFormat::kPreference) {
        TRY_DO(read_answer(columns, "chosen", row.completion));
        TRY_DO(read_answer(columns, "rejected", row.rejected));
      }
    }
    row.prompt.row = index;
    row.prompt.columns = std::move(columns);
    return row;
  }

  // Empty, or why the row is too long.
  std::string too_long(const DataRow& row) const {
    const auto prompt = static_cast<int64_t>(row.prompt.ids.size());
    if (options_.format == RowFormat::kPrompt) {
      if (options_.context > 0 && prompt >= options_.context && prompt <= options_.max_prompt_length) {
        return "the prompt has " + std::to_string(prompt) +
               " tokens, which leaves no room for an answer in the model's context of " +
               std::to_string(options_.context) + "; shorten it or set 'overlong_rows' to 'drop'";
      }
      return above("the prompt has ", prompt, "max_prompt_length", options_.max_prompt_length);
    }
    const auto answer = static_cast<int64_t>(std::max(row.completion.size(), row.rejected.size()));
    return above("prompt and answer have ", prompt + answer, "max_length", options_.max_length);
  }

  static std::string above(std::string_view what, int64_t tokens, std::string_view key, int64_t limit) {
    if (tokens <= limit) return {};
    return std::string(what) + std::to_string(tokens) + " tokens, " + in_quotes(key) + " is " +
           std::to_string(limit) + "; raise it or set 'overlong_rows' to 'drop'";
  }

  Result<std::vector<TokenId>> encode(std::string_view text, bool add_special) const {
    TRY(ids, tokenizer_.encode(text, add_special));
    for (const TokenId id : ids) TRY_DO(check_id(id));
    return ids;
  }

  Status check_id(TokenId id) const {
    if (id >= 0 && id < vocab_size_) return ok_status();
    return invalid_argument("the tokenizer gives id " + std::to_string(id) + ", the model has " +
                            std::to_string(vocab_size_) + " tokens: they do not belong together");
  }

  Status read_prompt(const Json& columns, Prompt& prompt) const {
    TRY(text, text_column(columns, "prompt"));
    TRY(ids, encode(text, /*add_special=*/true));
    if (ids.empty())
      return invalid_argument("the prompt is empty and this tokenizer has no BOS to begin with");
    prompt.text = std::move(text);
    prompt.ids = std::move(ids);
    return ok_status();
  }

  Status read_answer(const Json& columns, const char* name, std::vector<TokenId>& out) const {
    TRY(text, text_column(columns, name));
    TRY(ids, encode(text, /*add_special=*/false));
    out = std::move(ids);
    return end(out);
  }

  // A text without a prompt: all of it is learnt but its first token (BOS where there is one), which nothing
  // predicts.
  Status split_text(const Json& columns, DataRow& row) const {
    TRY(text, text_column(columns, "text"));
    TRY(ids, encode(text, /*add_special=*/true));
    if (ids.empty()) return invalid_argument("the text is empty and this tokenizer has no BOS to begin with");
    row.prompt.ids = {ids.front()};
    row.completion.assign(ids.begin() + 1, ids.end());
    return end(row.completion);
  }

  Status end(std::vector<TokenId>& ids) const {
    const std::optional<TokenId> eos = options_.append_eos ? tokenizer_.eos() : std::nullopt;
    if (!eos) return ok_status();
    ids.push_back(*eos);
    return check_id(*eos);
  }

  const DatasetOptions& options_;
  const Tokenizer& tokenizer_;
  int64_t vocab_size_;
};

}  // namespace

Result<Dataset> Dataset::open(const DatasetOptions& options, const Tokenizer& tokenizer, int64_t vocab_size) {
  if (options.files.empty()) return invalid_argument("no data files are given");
  Dataset out;
  out.seed_ = options.seed;
  out.shuffle_ = options.shuffle;
  const RowReader reader(options, tokenizer, vocab_size);
  int64_t index = 0;
  for (const std::string& file : options.files) {
    if (file != "-") TRY_DO(require_regular_file(file));  // "-": standard input
    TRY(lines, JsonlReader::open(file));
    for (; auto columns = lines.next(); ++index) {
      auto row = reader.use(std::move(*columns), index, lines.where());
      if (row.ok() && *row) {
        out.rows_.push_back(**std::move(row));
      } else if (row.ok()) {
        ++out.dropped_;
      } else if (options.leave_out_bad && row.status().code() == Code::kInvalidArgument) {
        if (out.bad_rows_.count++ == 0) out.bad_rows_.first = row.status().message();
      } else {
        return row.status();
      }
    }
  }
  if (out.rows_.empty() && out.bad_rows_.count > 0)
    return invalid_argument("no row can be used; the first: " + out.bad_rows_.first);
  if (out.rows_.empty()) {
    return invalid_argument("no rows in " + in_quotes(options.files.front()) +
                            (out.dropped_ > 0 ? ": all were longer than allowed" : ""));
  }
  out.kept_.resize(out.rows_.size());
  std::iota(out.kept_.begin(), out.kept_.end(), int64_t{0});
  return out;
}

Status Dataset::keep_rows(std::vector<int64_t> rows) {
  if (rows.empty()) return invalid_argument("no rows are left to train on");
  for (const int64_t i : rows) {
    if (i < 0 || i >= size()) return invalid_argument("the data has no row " + std::to_string(i));
  }
  kept_ = std::move(rows);
  return ok_status();
}

std::vector<int64_t> Dataset::order(int64_t begin, int64_t count) const {
  const auto n = static_cast<int64_t>(kept_.size());
  std::vector<int64_t> out, permutation(kept_.size());
  out.reserve(static_cast<size_t>(count));
  std::iota(permutation.begin(), permutation.end(), int64_t{0});
  for (int64_t position = begin; position < begin + count; ++position) {
    const bool enters_epoch = position == begin || position % n == 0;
    if (shuffle_ && enters_epoch) {
      permutation = Rng(seed_, Purpose::kDataOrder, {static_cast<uint64_t>(position / n)}).permutation(n);
    }
    out.push_back(kept_[static_cast<size_t>(permutation[static_cast<size_t>(position % n)])]);
  }
  return out;
}

std::vector<const DataRow*> Dataset::step_rows(int64_t step, int64_t rows_per_step) const {
  std::vector<const DataRow*> out;
  for (const int64_t i : order(step * rows_per_step, rows_per_step)) out.push_back(&row(i));
  return out;
}

}  // namespace fulcrum
