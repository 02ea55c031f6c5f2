#include "engine/pipeline/rehearsal.h"

#include <algorithm>
#include <string>

#include "engine/core/json.h"
#include "engine/core/rng.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr uint64_t kRehearsalOrder = 1;  // coordinate of the stream, apart from the data set's own order

Json to_json(const PresampledPrompt& p) {
  Json j = {{"row", p.row}, {"correct", p.correct}, {"label", label_name(p.label)}};
  if (p.mastered()) {
    j["ids"] = p.ids;
    j["logps"] = std::vector<double>(p.logps.begin(), p.logps.end());
  }
  return j;
}

Result<PresampledPrompt> from_json(const Json& j) {
  PresampledPrompt p;
  TRY(row, get_int(j, "row"));
  TRY(correct, get_int(j, "correct"));
  p.row = row;
  p.correct = correct;
  TRY(name, get_string(j, "label"));
  TRY(label, parse_label(name));
  p.label = label;
  if (!p.mastered()) return p;
  const auto ids = j.find("ids"), logps = j.find("logps");
  if (ids == j.end() || logps == j.end() || !ids->is_array() || !logps->is_array() ||
      ids->size() != logps->size()) {
    return invalid_argument("'ids' and 'logps' must be lists of one length");
  }
  for (size_t i = 0; i < ids->size(); ++i) {
    if (!(*ids)[i].is_number_integer() || !(*logps)[i].is_number())
      return invalid_argument("'ids' or 'logps' holds no number");
    p.ids.push_back((*ids)[i].get<TokenId>());
    p.logps.push_back(static_cast<float>((*logps)[i].get<double>()));
  }
  return p;
}

std::string lines_of(const std::vector<PresampledPrompt>& prompts) {
  std::string lines;
  for (const PresampledPrompt& p : prompts) lines += dump_json(to_json(p)) + "\n";
  return lines;
}

constexpr const char* kMadeWith = "made_with";
constexpr size_t kShown = 80;  // bytes of a value in a message

Status check_header(const Path& file, const std::string& line, const Json& made_with) {
  const Result<Json> header = parse_json(line);
  const Json before = header.ok() && header->is_object() ? header->value(kMadeWith, Json()) : Json();
  if (!before.is_object()) {
    return data_loss(in_quotes(file.string()) +
                     " line 1 does not say what the file was made with; delete it to sample again");
  }
  for (const auto& [key, value] : made_with.items()) {
    const std::string now = dump_json(value), then = dump_json(before.value(key, Json()));
    if (now == then) continue;
    return failed_precondition(in_quotes(file.string()) + " was made with another " + in_quotes(key) + " (" +
                               printable(then, kShown) + ", now " + printable(now, kShown) +
                               "); undo that change, or choose another output_dir");
  }
  return ok_status();
}

// The file's whole lines; "" without any. What was torn off an append is gone from the file too.
Result<std::string> whole_lines(const Path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return std::string();
  TRY(text, read_file(file));
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  if (whole == text.size()) return text;
  text.resize(whole);
  TRY_DO(write_file_atomic(file, text));
  return text;
}

}  // namespace

Result<Rehearsal> Rehearsal::open(const Path& file, const Json& made_with) {
  Rehearsal out(file, dump_json({{kMadeWith, made_with}}) + "\n");
  TRY(text, whole_lines(file));
  if (text.empty()) {
    TRY_DO(write_file_atomic(file, out.header_));
    return out;
  }
  int64_t line = 0;
  for (const std::string& row : split(text, '\n')) {
    ++line;
    if (line == 1) TRY_DO(check_header(file, row, made_with));
    if (line == 1 || row.empty()) continue;
    const std::string where = in_quotes(file.string()) + " line " + std::to_string(line);
    Result<Json> j = parse_json(row);
    Result<PresampledPrompt> p = j.ok() ? from_json(*j) : Result<PresampledPrompt>(j.status());
    if (p.ok() && p->row != std::ssize(out.prompts_)) p = invalid_argument("'row' is not the line's place");
    if (!p.ok()) return data_loss(where + ": " + p.status().message() + "; delete the file to sample again");
    out.prompts_.push_back(std::move(p).value());
  }
  return out;
}

Status Rehearsal::append(const std::vector<PresampledPrompt>& prompts) {
  TRY_DO(append_file(file_, lines_of(prompts), /*durable=*/true));
  prompts_.insert(prompts_.end(), prompts.begin(), prompts.end());
  return ok_status();
}

Status Rehearsal::keep(int64_t count) {
  if (count >= std::ssize(prompts_)) return ok_status();
  prompts_.resize(static_cast<size_t>(count));
  return write_file_atomic(file_, header_ + lines_of(prompts_));
}

std::vector<int64_t> Rehearsal::exploration_rows() const {
  std::vector<int64_t> rows;
  for (const PresampledPrompt& p : prompts_) {
    if (!p.mastered() && p.label != PromptLabel::kDrop) rows.push_back(p.row);
  }
  return rows;
}

std::vector<const PresampledPrompt*> Rehearsal::samples(uint64_t seed, int64_t step, int64_t count) const {
  std::vector<const PresampledPrompt*> mastered, out;
  for (const PresampledPrompt& p : prompts_) {
    if (p.mastered()) mastered.push_back(&p);
  }
  const int64_t n = static_cast<int64_t>(mastered.size());
  int64_t epoch = -1;
  std::vector<int64_t> order;
  for (int64_t i = step * count; n > 0 && i < (step + 1) * count; ++i) {
    if (i / n != epoch) {
      epoch = i / n;
      order = Rng(seed, Purpose::kPresample, {kRehearsalOrder, static_cast<uint64_t>(epoch)}).permutation(n);
    }
    out.push_back(mastered[static_cast<size_t>(order[static_cast<size_t>(i % n)])]);
  }
  return out;
}

}  // namespace fulcrum
