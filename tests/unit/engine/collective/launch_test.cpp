#include "engine/collective/launch.h"

#include <gtest/gtest.h>

#include <map>

namespace fulcrum {
namespace {

using Variables = std::map<std::string, std::string>;

const Variables kTwo = {
    {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29500"}, {"RANK", "1"}, {"WORLD_SIZE", "2"}};

Result<Launch> launch_of(const Variables& variables) {
  return read_launch([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

Variables with(const std::string& name, const std::string& value) {
  Variables out = kTwo;
  out[name] = value;
  return out;
}

TEST(Launch, WithoutTheVariablesOrWithAWorldOfOneItIsOneProcess) {
  EXPECT_EQ(launch_of({})->size, 1);
  EXPECT_EQ(launch_of({{"WORLD_SIZE", "1"}})->size, 1);
  EXPECT_EQ(launch_of({{"RANK", "3"}})->size, 1);
}

TEST(Launch, ReadsTorchrunsVariables) {
  const Result<Launch> launch = launch_of(kTwo);
  ASSERT_TRUE(launch.ok()) << launch.status().message();
  EXPECT_EQ(launch->rank, 1);
  EXPECT_EQ(launch->size, 2);
  EXPECT_EQ(launch->master_addr, "127.0.0.1");
  EXPECT_EQ(launch->master_port, 29500);
  EXPECT_FALSE(launch->launcher_store);
}

TEST(Launch, KnowsThatTorchrunKeepsTheStoreAndHowOftenItStartedTheRanks) {
  Variables variables = with("TORCHELASTIC_USE_AGENT_STORE", "True");
  variables["TORCHELASTIC_RESTART_COUNT"] = "2";
  const Result<Launch> launch = launch_of(variables);
  ASSERT_TRUE(launch.ok()) << launch.status().message();
  EXPECT_TRUE(launch->launcher_store);
  EXPECT_EQ(launch->restarts, 2);
}

TEST(Launch, NamesTheVariableThatIsMissingOrWrong) {
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{{"RANK", ""},
                                                                                    {"RANK", "2"},
                                                                                    {"RANK", "-1"},
                                                                                    {"RANK", "one"},
                                                                                    {"WORLD_SIZE", "2x"},
                                                                                    {"WORLD_SIZE", "0"},
                                                                                    {"MASTER_PORT", "70000"},
                                                                                    {"MASTER_PORT", ""},
                                                                                    {"MASTER_ADDR", ""}}) {
    const Status status = launch_of(with(name, value)).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << name << "=" << value;
    EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace fulcrum
