#include "engine/core/cores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <string>
#include <thread>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/kernel_files.h"
#include "engine/core/log.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

void put(const Path& file, const std::string& text) {
  ASSERT_TRUE(make_folders(file.parent_path()).ok());
  ASSERT_TRUE(write_file_atomic(file, text).ok());
}

TEST(Cores, TheQuotaIsTimeInEachPeriod) {
  EXPECT_EQ(quota_of("200000 100000\n"), 2.0);
  EXPECT_EQ(quota_of("50000 100000"), 0.5);
  EXPECT_EQ(quota_of("max 100000\n"), std::nullopt);
}

TEST(Cores, AQuotaThatIsNotUnderstoodSetsNoLimit) {
  for (const char* text : {"", "max", "100000", "1 2 3", "x y", "0 100000", "-1 100000", "100000 0"})
    EXPECT_EQ(quota_of(text), std::nullopt) << text;
}

TEST(Cores, TheOwnControlGroupIsTheOneOfVersionTwo) {
  EXPECT_EQ(cgroup_of("9:name=systemd:/a\n4:memory:/b\n0::/user.slice/me\n"), "/user.slice/me");
  EXPECT_EQ(cgroup_of("0::/\n"), "/");
  EXPECT_EQ(cgroup_of("4:memory:/b\n"), "");
}

TEST(Cores, TheSmallestQuotaFromTheRootDownBinds) {
  const testing::TempFolder root;
  put(root.path() / "a/cpu.max", "300000 100000\n");
  put(root.path() / "a/b/cpu.max", "max 100000\n");
  put(root.path() / "a/b/c/cpu.max", "800000 100000\n");
  EXPECT_EQ(quota_under(root.path(), "/a/b/c"), 3.0);
  EXPECT_EQ(quota_under(root.path(), "/other/b"), std::nullopt);
  // In a container the path may be that of the host while the tree begins at its own group.
  put(root.path() / "cpu.max", "150000 100000\n");
  EXPECT_EQ(quota_under(root.path(), "/docker/not-here"), 1.5);
  EXPECT_EQ(quota_under(root.path(), "/../../a"), 1.5);
}

TEST(Cores, TheTightestLimitIsNamed) {
  EXPECT_EQ(tightest(8, 8, std::nullopt).cores, 8);
  EXPECT_EQ(tightest(8, 8, std::nullopt).because, "the machine has 8 cores");
  EXPECT_EQ(tightest(8, 3, std::nullopt).cores, 3);
  EXPECT_THAT(tightest(8, 3, std::nullopt).because, HasSubstr("3 cores of 8 (CPU affinity)"));
  EXPECT_EQ(tightest(8, 3, 2.9).cores, 2);
  EXPECT_THAT(tightest(8, 3, 2.9).because, HasSubstr("2.9 cores (cpu.max)"));
  EXPECT_EQ(tightest(8, 3, 16.0).cores, 3);
  EXPECT_EQ(tightest(8, 8, 0.25).cores, 1) << "one core is always left";
}

// In a thread of its own, on one core.
TEST(Cores, NoMoreThreadsThanTheSchedulerAllowsAndAWarningSaysWhy) {
  std::thread([] {
    cpu_set_t mask;
    ASSERT_EQ(::sched_getaffinity(0, sizeof mask, &mask), 0);
    int first = 0;
    while (!CPU_ISSET(first, &mask)) ++first;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    ASSERT_EQ(::sched_setaffinity(0, sizeof mask, &mask), 0);
    std::vector<std::string> warnings;
    const LogTee tee([&](LogLevel, std::string_view m) { warnings.emplace_back(m); });
    EXPECT_EQ(usable_cores(), 1);
    EXPECT_EQ(within_cores(1, "--threads"), 1);
    EXPECT_TRUE(warnings.empty()) << warnings.front();
    EXPECT_EQ(within_cores(3, "--threads"), 1);
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_THAT(warnings[0], HasSubstr("--threads asks for 3 threads, but the "));
    EXPECT_THAT(warnings[0], HasSubstr(": using 1"));
  }).join();
}

TEST(Cores, CoresThatAreTakenAreNotGivenTwice) {
  const int64_t cores = usable_cores();
  std::vector<std::string> warnings;
  const LogTee tee([&](LogLevel, std::string_view m) { warnings.emplace_back(m); });
  EXPECT_EQ(within_cores(cores, "'rollout_threads'", /*taken=*/0), cores);
  EXPECT_EQ(within_cores(cores + 1, "'rollout_threads'", /*taken=*/cores), 1);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("are taken"));
}

}  // namespace
}  // namespace fulcrum
