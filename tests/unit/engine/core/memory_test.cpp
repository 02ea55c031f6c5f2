#include "engine/core/memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/core/files.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

TEST(Memory, TheKernelsKilobytesAreReadByName) {
  const char* text = "MemTotal:       24611120 kB\nMemAvailable:   1024 kB\nMemFree: x kB\n";
  EXPECT_EQ(kilobytes_of(text, "MemAvailable"), 1024 * 1024);
  EXPECT_EQ(kilobytes_of(text, "Mem"), std::nullopt);
  EXPECT_EQ(kilobytes_of(text, "MemFree"), std::nullopt);
  EXPECT_EQ(kilobytes_of("", "MemTotal"), std::nullopt);
}

TEST(Memory, TheTightestControlGroupLeavesTheLeast) {
  const testing::TempFolder root;
  const auto put = [&](const char* file, const char* text) {
    const Path path = root.path() / file;
    ASSERT_TRUE(make_folders(path.parent_path()).ok());
    ASSERT_TRUE(write_file_atomic(path, text).ok());
  };
  EXPECT_EQ(left_under(root.path(), "/a/b"), std::nullopt);
  put("a/memory.max", "1000\n");
  put("a/memory.current", "900\n");
  put("a/b/memory.max", "max\n");
  put("a/b/memory.current", "500\n");
  EXPECT_EQ(left_under(root.path(), "/a/b"), 100);
  put("a/b/memory.max", "400\n");
  EXPECT_EQ(left_under(root.path(), "/a/b"), 0) << "more in use than allowed leaves nothing";
}

TEST(Memory, WhatTheProcessTakesIsSeen) {
  const int64_t before = process_memory().anonymous;
  ASSERT_GT(before, 0);
  std::vector<char> block(size_t{64} << 20, 'x');
  const int64_t grown = process_memory().anonymous - before;
  EXPECT_GE(grown, int64_t{60} << 20) << block[block.size() / 2];
  EXPECT_LE(grown, int64_t{512} << 20) << "a sanitizer keeps some for each byte";
  EXPECT_GT(free_memory().bytes, 0);
}

}  // namespace
}  // namespace fulcrum
