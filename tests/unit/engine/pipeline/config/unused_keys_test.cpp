// Laws over all keys of a job: each is known to be read by every trainer or by some, and the others refuse
// it.
#include "engine/pipeline/config/unused_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

std::vector<KeyInfo> single_keys() {
  std::vector<KeyInfo> out;
  for (const KeyInfo& key : config_keys<JobConfig>()) {
    if (key.type != "section" && key.path.find("[]") == std::string::npos) out.push_back(key);
  }
  return out;
}

const KeyReaders* find_readers(const std::string& key) {
  for (const KeyReaders& entry : key_readers()) {
    if (entry.key == key || (entry.key.ends_with('.') && key.starts_with(entry.key))) return &entry;
  }
  return nullptr;
}

TEST(KeyReaders, EveryKeyOfAJobHasItsReadersExactlyOnce) {
  std::map<std::string, int> seen;
  for (const std::string& key : common_keys()) ++seen[key];
  for (const KeyReaders& entry : key_readers()) {
    if (!entry.key.ends_with('.')) ++seen[entry.key];
  }
  for (const KeyInfo& key : single_keys()) {
    if (const KeyReaders* found = find_readers(key.path); found != nullptr && found->key.ends_with('.'))
      ++seen[key.path];
    EXPECT_EQ(seen[key.path], 1) << key.path;
    seen.erase(key.path);
  }
  for (const auto& [key, n] : seen) ADD_FAILURE() << "there is no key " << key;
}

TEST(KeyReaders, AreTrainersAndNeverAllOfThem) {
  const std::vector<std::string> names = trainer_names();
  for (const auto& [key, trainers] : key_readers()) {
    EXPECT_LT(trainers.size(), names.size()) << key;
    for (const std::string& trainer : trainers)
      EXPECT_NE(std::find(names.begin(), names.end(), trainer), names.end()) << key << ": " << trainer;
  }
}

// Values to try for a key, of which some are in its range and other than its default.
std::vector<Json> candidates(const KeyInfo& key) {
  if (key.path == "reward_funcs") return {Json::parse(R"([{"name": "math"}])")};
  if (key.path == "f_dpg.constraints") return {Json::parse(R"([{"feature": "math"}])")};
  if (key.path == "ref_soup_layer_weights") return {Json::parse(R"([{"tensors": "mlp", "weights": [1]}])")};
  std::vector<Json> out = {true, false, 7, 0.25, 1.5, "x", Json{"x"}, Json{7}, Json{0.5}};
  for (size_t at = 0; at < key.range.size();) {  // "a | b | c"
    const size_t end = std::min(key.range.find(" | ", at), key.range.size());
    out.emplace_back(key.range.substr(at, end - at));
    at = end + 3;
  }
  return out;
}

// A job that sets only `key`.
Result<JobConfig> job_with(const KeyInfo& key, const std::string& trainer) {
  const size_t dot = key.path.find('.');
  for (const Json& value : candidates(key)) {
    if (dump_json(value) == key.default_value) continue;
    Json job = {{"trainer", trainer}};
    (dot == std::string::npos ? job[key.path] : job[key.path.substr(0, dot)][key.path.substr(dot + 1)]) =
        value;
    if (Result<JobConfig> config = read_config<JobConfig>(job); config.ok()) return config;
  }
  return not_found("no value for " + key.path);
}

TEST(UnusedKeys, AreRefusedByEveryTrainerThatDoesNotReadThem) {
  for (const KeyInfo& key : single_keys()) {
    const KeyReaders* entry = find_readers(key.path);
    if (entry == nullptr) continue;
    for (const std::string& trainer : trainer_names()) {
      SCOPED_TRACE(key.path + " with " + trainer);
      const Result<JobConfig> config = job_with(key, trainer);
      ASSERT_TRUE(config.ok()) << config.status().message();
      Complaints complaints;
      check_unused_keys(*config, complaints);
      const auto& readers = entry->trainers;
      if (std::find(readers.begin(), readers.end(), trainer) != readers.end()) {
        EXPECT_EQ(complaints.status().message().find("does not use"), std::string::npos);
      } else {
        EXPECT_THAT(complaints.status().message(),
                    HasSubstr("trainer '" + trainer + "' does not use '" + key.path + "'"));
      }
    }
  }
}

TEST(UnusedKeys, AJobThatSetsNothingHasNone) {
  for (const std::string& trainer : trainer_names()) {
    JobConfig config;
    config.objective.trainer = trainer;
    Complaints complaints;
    check_unused_keys(config, complaints);
    EXPECT_TRUE(complaints.status().ok()) << complaints.status().message();
  }
}

}  // namespace
}  // namespace fulcrum
