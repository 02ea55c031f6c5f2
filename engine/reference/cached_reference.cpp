#include "engine/reference/cached_reference.h"

#include <bit>
#include <cstring>

#include "engine/core/hash.h"
#include "engine/core/json.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

static_assert(std::endian::native == std::endian::little, "the file holds little-endian numbers");

constexpr const char* kFormat = "fulcrum-reference-logps/1";

std::string_view bytes_of(std::span<const float> numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes()};
}

// The length of the prompt comes first, so that "ab" + "c" is not "a" + "bc".
std::string key_of(const TrainBatch& batch, const BatchRow& row) {
  const BatchGroup& group = batch.groups[static_cast<size_t>(row.group)];
  std::vector<TokenId> ids = {static_cast<TokenId>(group.prompt_end - group.prompt_begin)};
  ids.insert(ids.end(), batch.tokens.begin() + group.prompt_begin, batch.tokens.begin() + group.prompt_end);
  ids.insert(ids.end(), batch.tokens.begin() + row.token_begin, batch.tokens.begin() + row.token_end);
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId)};
}

}  // namespace

void CachedReference::add(const TrainBatch& batch, std::span<const float> logps) {
  for (const BatchRow& row : batch.rows) {
    const auto values = logps.subspan(static_cast<size_t>(row.target_begin),
                                      static_cast<size_t>(row.target_end - row.target_begin));
    rows_.try_emplace(key_of(batch, row), values.begin(), values.end());
  }
}

Result<std::vector<float>> CachedReference::logps(const TrainBatch& batch, double /*temperature*/,
                                                  int64_t /*max_tokens*/, int64_t /*chunk*/,
                                                  std::stop_token /*stop*/) {
  std::vector<float> out;
  out.reserve(batch.target_ids.size());
  for (const BatchRow& row : batch.rows) {
    const auto found = rows_.find(key_of(batch, row));
    if (found == rows_.end()) {
      return internal_error("the cached reference log-probs have none for a completion of prompt row " +
                            std::to_string(row.prompt_row));
    }
    out.insert(out.end(), found->second.begin(), found->second.end());
  }
  return out;
}

Status CachedReference::load(const TensorMap& tensors, int64_t version) {
  if (tensors.empty() && version == 0) return ok_status();
  return invalid_argument(
      "the checkpoint holds a moving reference, whose log-probs cannot be computed in advance: set "
      "precompute_ref_log_probs to false");
}

Status write_logps_file(const Path& file, const std::string& key, std::span<const float> logps) {
  const std::string_view payload = bytes_of(logps);
  const std::string header =
      dump_json(
          {{"format", kFormat}, {"key", key}, {"count", logps.size()}, {"sha256", sha256_hex(payload)}}) +
      "\n";
  const std::string_view pieces[] = {header, payload};
  return write_file_atomic(file, pieces);
}

Result<std::vector<float>> read_logps_file(const Path& file, const std::string& key, int64_t count) {
  TRY(text, read_file(file, uint64_t{1} << 36));
  const std::string where = "reference log-probs " + in_quotes(file.string());
  const size_t line = text.find('\n');
  Json header;
  if (line != std::string::npos) {
    if (auto parsed = parse_json(std::string_view(text).substr(0, line)); parsed.ok())
      header = std::move(parsed).value();
  }
  const auto says = [&](const char* field, const std::string& value) {
    const auto found = header.is_object() ? get_string(header, field) : Result<std::string>(data_loss(""));
    return found.ok() && *found == value;
  };
  if (!says("format", kFormat)) return data_loss(where + " are damaged: the first line is not their header");
  if (!says("key", key)) return data_loss(where + " are of another model, tokenizer, data set or build");
  const std::string_view payload = std::string_view(text).substr(line + 1);
  if (payload.size() != static_cast<size_t>(count) * sizeof(float) || !says("sha256", sha256_hex(payload))) {
    return data_loss(where + " are damaged: the numbers are not those that were written");
  }
  std::vector<float> out(static_cast<size_t>(count));
  std::memcpy(out.data(), payload.data(), payload.size());
  return out;
}

}  // namespace fulcrum
