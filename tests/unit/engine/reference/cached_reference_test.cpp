#include "engine/reference/cached_reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/data/pack.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;

TrainBatch batch_of(const std::vector<std::pair<std::vector<TokenId>, std::vector<TokenId>>>& rows) {
  BatchBuilder builder;
  int64_t row = 7;
  for (const auto& [prompt, completion] : rows) {
    builder.begin_group(prompt);
    builder.add_row(completion, {.prompt_row = row++});
  }
  return builder.take();
}

std::vector<float> served(CachedReference& cached, const TrainBatch& batch) {
  const auto logps = cached.logps(batch, 1, 1, 1, {});
  EXPECT_TRUE(logps.ok()) << logps.status().message();
  return logps.ok() ? *logps : std::vector<float>{};
}

TEST(CachedReference, FindsARowByItsTokensInABatchOfAnyComposition) {
  CachedReference cached("hash", false);
  cached.add(batch_of({{{1, 2}, {3, 4}}, {{5}, {6}}, {{8}, {}}}), std::vector<float>{-1, -2, -3});
  EXPECT_EQ(served(cached, batch_of({{{5}, {6}}, {{8}, {}}, {{1, 2}, {3, 4}}})),
            (std::vector<float>{-3, -1, -2}));
  EXPECT_EQ(cached.content_hash(), "hash");
}

TEST(CachedReference, DoesNotMistakeTheEndOfAPromptForACompletion) {
  CachedReference cached("hash", false);
  cached.add(batch_of({{{1, 2}, {3}}}), std::vector<float>{-1});
  const auto other = cached.logps(batch_of({{{1}, {2, 3}}}), 1, 1, 1, {});
  EXPECT_EQ(other.status().code(), Code::kInternal);
  EXPECT_THAT(other.status().message(), HasSubstr("prompt row 7"));
}

TEST(CachedReference, OfARowThatComesTwiceTheFirstNumbersStay) {
  CachedReference cached("hash", false);
  cached.add(batch_of({{{1}, {2}}}), std::vector<float>{-1});
  cached.add(batch_of({{{1}, {2}}}), std::vector<float>{-9});
  EXPECT_EQ(served(cached, batch_of({{{1}, {2}}})), std::vector<float>{-1});
}

TEST(CachedReference, TakesNoMovedReferenceOutOfACheckpoint) {
  CachedReference cached("hash", false);
  EXPECT_TRUE(cached.load({}, 0).ok());
  EXPECT_EQ(cached.load({}, 3).code(), Code::kInvalidArgument);
}

class LogpsFile : public ::testing::Test {
 protected:
  LogpsFile() { EXPECT_TRUE(write_logps_file(file_, "key", numbers_).ok()); }
  Code code_of(const std::string& key, int64_t count) const {
    return read_logps_file(file_, key, count).status().code();
  }
  testing::TempFolder folder_;
  Path file_ = folder_.path() / "logps.bin";
  std::vector<float> numbers_ = {-1.5F, -0.25F, -3e-8F};
};

TEST_F(LogpsFile, GivesBackTheBitsThatWereWritten) {
  const auto got = read_logps_file(file_, "key", 3);
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(*got, numbers_);
}

TEST_F(LogpsFile, UnderAnotherKeyOrWithAnotherCountIsNeverRead) {
  EXPECT_EQ(code_of("other", 3), Code::kDataLoss);
  EXPECT_EQ(code_of("key", 4), Code::kDataLoss);
  EXPECT_EQ(read_logps_file(folder_.path() / "none", "key", 3).status().code(), Code::kNotFound);
}

TEST_F(LogpsFile, WithAnyByteChangedOrMissingIsNeverReadAsWhatItWas) {
  const std::string whole = read_file(file_).value();
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    ASSERT_TRUE(write_file_atomic(file_, changed).ok());
    const auto got = read_logps_file(file_, "key", 3);
    EXPECT_TRUE(!got.ok() || *got == numbers_) << i;  // a space of the header may differ
    ASSERT_TRUE(write_file_atomic(file_, std::string_view(whole).substr(0, i)).ok());
    EXPECT_EQ(code_of("key", 3), Code::kDataLoss) << i;
  }
}

}  // namespace
}  // namespace fulcrum
