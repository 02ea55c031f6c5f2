#include "engine/jobs/tensorboard.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>

#include "engine/core/hash.h"
#include "tests/support/test_data.h"
#include "tests/unit/engine/jobs/jobs_testing.h"

namespace fulcrum {
namespace {

using testing::bytes_of;
using testing::expect_ok;
using testing::TempFolder;

template <class T>
T little_endian(std::string_view bytes) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    value |= static_cast<T>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return value;
}

// The inverse of the mask, as readers do it: take the constant off, rotate left.
uint32_t unmasked(uint32_t masked) {
  const uint32_t rotated = masked - 0xA282EAD8u;
  return (rotated >> 17) | (rotated << 15);
}

// Payloads of a record file; every checksum is checked.
std::vector<std::string> records(std::string_view file) {
  std::vector<std::string> out;
  while (!file.empty()) {
    const auto length = little_endian<uint64_t>(file.substr(0, 8));
    EXPECT_EQ(unmasked(little_endian<uint32_t>(file.substr(8, 4))), crc32c(file.substr(0, 8)));
    out.emplace_back(file.substr(12, length));
    EXPECT_EQ(unmasked(little_endian<uint32_t>(file.substr(12 + length, 4))), crc32c(out.back()));
    file.remove_prefix(16 + length);
  }
  return out;
}

struct Field {
  uint64_t number = 0;
  std::string bytes;
};

// A protobuf reader for any message: number and bytes of each field.
std::multimap<uint32_t, Field> fields(std::string_view message) {
  std::multimap<uint32_t, Field> out;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(message.front());
      message.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
  };
  while (!message.empty()) {
    const uint64_t key = varint();
    Field field;
    if ((key & 7) == 0) {
      field.number = varint();
    } else {
      const size_t n = (key & 7) == 2 ? varint() : (key & 7) == 1 ? 8 : 4;
      field.bytes = message.substr(0, n);
      message.remove_prefix(n);
    }
    out.emplace(static_cast<uint32_t>(key >> 3), field);
  }
  return out;
}

std::map<std::string, float> scalars(const std::string& event) {
  std::map<std::string, float> out;
  const auto top = fields(event);
  const auto summary = fields(top.find(5)->second.bytes);
  for (const auto& [number, value] : summary) {
    const auto v = fields(value.bytes);
    out[v.find(1)->second.bytes] = std::bit_cast<float>(little_endian<uint32_t>(v.find(2)->second.bytes));
  }
  return out;
}

TEST(TensorBoardTest, TheFirstRecordNamesTheFormat) {
  const TempFolder folder;
  const auto log = TensorBoardLog::open(folder.path() / "tb", -1);
  ASSERT_TRUE(log.ok());
  const auto all = records(bytes_of(log->file()));
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(fields(all[0]).find(3)->second.bytes, "brain.Event:2");
  EXPECT_NE(log->file().filename().string().find("tfevents"), std::string::npos);
}

TEST(TensorBoardTest, ScalarsAreReadBackWithStepAndTag) {
  const TempFolder folder;
  auto log = TensorBoardLog::open(folder.path(), -1);
  ASSERT_TRUE(log.ok());
  expect_ok(log->append(300, {{"step", 300}, {"loss", 0.25}, {"val-core/exact/mean@4", 3}, {"name", "x"}}));
  const auto all = records(bytes_of(log->file()));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(fields(all[2]).find(2)->second.number, 300u);
  const double wall = std::bit_cast<double>(little_endian<uint64_t>(fields(all[2]).find(1)->second.bytes));
  EXPECT_GT(wall, 1.7e9);
  EXPECT_EQ(scalars(all[2]),
            (std::map<std::string, float>{{"loss", 0.25f}, {"val-core/exact/mean@4", 3.0f}}));
}

TEST(TensorBoardTest, WhatIsNotAFiniteNumberIsLeftOut) {
  const TempFolder folder;
  auto log = TensorBoardLog::open(folder.path(), -1);
  ASSERT_TRUE(log.ok());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  expect_ok(log->append(1, {{"a", nan}, {"b", true}, {"c", 1e300}, {"d", nullptr}}));
  EXPECT_EQ(records(bytes_of(log->file())).size(), 2u);
}

TEST(TensorBoardTest, AResumedRunBeginsALaterFileThatTakesBackTheStepsDoneAgain) {
  const TempFolder folder;
  const auto first = TensorBoardLog::open(folder.path(), -1);
  const auto second = TensorBoardLog::open(folder.path(), 40);
  const auto third = TensorBoardLog::open(folder.path(), 50);
  ASSERT_TRUE(first.ok() && second.ok() && third.ok());
  EXPECT_LT(first->file().string(), second->file().string());
  EXPECT_LT(second->file().string(), third->file().string());
  const auto start = fields(records(bytes_of(second->file()))[1]);
  EXPECT_EQ(start.find(2)->second.number, 41u);
  EXPECT_EQ(fields(start.find(7)->second.bytes).find(1)->second.number, 1u) << "SessionLog.START";
}

TEST(TensorBoardTest, ARecordIsFramedByMaskedChecksums) {
  EXPECT_EQ(records(tensorboard_record("abc")), std::vector<std::string>{"abc"});
  EXPECT_EQ(tensorboard_record("").size(), 16u);
}

}  // namespace
}  // namespace fulcrum
