// What the tests of the rewards share.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "reward/make_rewards.h"
#include "tests/support/test_data.h"

namespace fulcrum::testing {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline Json read_json(const std::filesystem::path& path) {
  Result<Json> json = parse_json(read_text(path));
  EXPECT_TRUE(json.ok()) << path << ": " << json.status().message();
  return json.ok() ? *json : Json();
}

inline std::unique_ptr<RewardFunction> reward(const RewardConfig& config) {
  auto made = make_reward(config);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return made.ok() ? std::move(made).value() : nullptr;
}

// The config without what its judge would refuse as unused.
inline RewardConfig with_its_keys(RewardConfig config) {
  const RewardConfig unset;
  if (config.name != "regex") config.pattern = unset.pattern;
  if (config.name != "format") config.format = unset.format;
  if (config.name != "length") config.target = unset.target;
  return config;
}

struct Asked {
  int64_t num_tokens = 0;
  bool truncated = false;
  Deadline deadline = Deadline::never();
};

inline Verdict judge(const RewardFunction& function, std::string_view completion, const Json& solution,
                     Asked asked = {}) {
  const Json columns = solution.is_null() ? Json::object() : Json{{"solution", solution}};
  const RewardRequest request{"", completion, &columns, asked.num_tokens, asked.truncated};
  const std::vector<Verdict> verdicts = function.score({&request, 1}, asked.deadline, {});
  EXPECT_EQ(verdicts.size(), 1u);
  return verdicts.at(0);
}

inline Verdict judge(const RewardConfig& config, std::string_view completion, const Json& solution,
                     Asked asked = {}) {
  return judge(*reward(config), completion, solution, asked);
}

}  // namespace fulcrum::testing
