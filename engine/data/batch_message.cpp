#include "engine/data/batch_message.h"

#include <cstring>
#include <type_traits>

namespace fulcrum {
namespace {

// Every array of a batch that is made of plain numbers, by name: one list for both directions.
template <class Batch, class Do>
void each_array(Batch& b, Do&& visit) {
  visit("tokens", b.tokens);
  visit("positions", b.positions);
  visit("groups", b.groups);
  visit("target_source", b.target_source);
  visit("target_ids", b.target_ids);
  visit("target_row", b.target_row);
  visit("target_mask", b.target_mask);
  visit("sampling_logps", b.sampling_logps);
  visit("stored_logps", b.stored_logps);
  visit("old_logps", b.old_logps);
  visit("reference_logps", b.reference_logps);
  visit("old_values", b.old_values);
  visit("advantages", b.advantages);
  visit("returns", b.returns);
}

template <class Batch, class Do>
void each_number(Batch& b, Do&& visit) {
  visit("denominator", b.denominator);
  visit("rehearsal_denominator", b.rehearsal_denominator);
  visit("kl_coefficient", b.kl_coefficient);
}

template <class Row, class Do>
void each_field(Row& r, Do&& visit) {
  visit("group", r.group);
  visit("token_begin", r.token_begin);
  visit("token_end", r.token_end);
  visit("target_begin", r.target_begin);
  visit("target_end", r.target_end);
  visit("prompt_row", r.prompt_row);
  visit("truncated", r.truncated);
  visit("rehearsal", r.rehearsal);
  visit("has_reward", r.has_reward);
  visit("reward", r.reward);
}

template <class T>
Json binary(const std::vector<T>& values) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return Json::binary(std::move(bytes));
}

template <class T>
bool read_binary(const Json& json, std::vector<T>& into) {
  if (!json.is_binary() || json.get_binary().size() % sizeof(T) != 0) return false;
  const auto& bytes = json.get_binary();
  into.resize(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(into.data(), bytes.data(), bytes.size());
  return true;
}

Json row_message(const BatchRow& row) {
  Json out = Json::object(), parts = Json::object();
  each_field(row, [&](const char* name, const auto& value) { out[name] = value; });
  for (const auto& [name, value] : row.parts) parts[name] = value;
  out["parts"] = std::move(parts);
  return out;
}

bool read_row(const Json& json, BatchRow& row) {
  if (!json.is_object() || !json.value("parts", Json()).is_object()) return false;
  bool fine = true;
  each_field(row, [&](const char* name, auto& value) {
    const auto found = json.find(name);
    fine = fine && found != json.end() && (found->is_number() || found->is_boolean());
    if (fine) found->get_to(value);
  });
  for (const auto& [name, value] : json["parts"].items()) {
    fine = fine && value.is_number();
    if (fine) row.parts[name] = value.template get<double>();
  }
  return fine;
}

}  // namespace

Json batch_message(const TrainBatch& batch) {
  Json out = Json::object(), rows = Json::array();
  each_array(batch, [&](const char* name, const auto& values) { out[name] = binary(values); });
  each_number(batch, [&](const char* name, double value) { out[name] = value; });
  for (const BatchRow& row : batch.rows) rows.push_back(row_message(row));
  out["rows"] = std::move(rows);
  return out;
}

Result<TrainBatch> read_batch_message(const Json& message) {
  TrainBatch out;
  bool fine = message.is_object() && message.contains("rows") && message["rows"].is_array();
  each_array(out, [&](const char* name, auto& values) {
    fine = fine && message.contains(name) && read_binary(message[name], values);
  });
  each_number(out, [&](const char* name, double& value) {
    fine = fine && message.contains(name) && message[name].is_number();
    if (fine) value = message[name].get<double>();
  });
  if (fine) {
    for (const Json& row : message["rows"]) fine = fine && read_row(row, out.rows.emplace_back());
  }
  if (!fine) return data_loss("rank 0 sent a batch that cannot be read");
  return out;
}

}  // namespace fulcrum
