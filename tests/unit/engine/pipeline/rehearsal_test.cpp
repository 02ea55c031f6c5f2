#include "engine/pipeline/rehearsal.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

const Json kMadeWith = {{"presample.threshold", 8}, {"temperature", 0.7}, {"model", "f00d"}};

Result<Rehearsal> open(const Path& file) { return Rehearsal::open(file, kMadeWith); }

std::vector<PresampledPrompt> ten() {
  std::vector<PresampledPrompt> all;
  for (int64_t i = 0; i < 10; ++i) {
    PresampledPrompt p{.row = i,
                       .correct = i,
                       .label = i % 2 == 0 ? PromptLabel::kPef : PromptLabel::kExp,
                       .ids = {},
                       .logps = {}};
    if (p.mastered()) {
      p.ids = {static_cast<TokenId>(i), 2};
      p.logps = {-0.1f, -1.0f / 3.0f};
    }
    all.push_back(p);
  }
  return all;
}

TEST(Rehearsal, WhatIsAppendedIsReadBackBitForBit) {
  testing::TempFolder folder;
  const Path file = folder.path() / "presample.jsonl";
  ASSERT_TRUE(open(file)->append(ten()).ok());
  const Rehearsal again = *open(file);
  ASSERT_EQ(again.prompts().size(), 10u);
  EXPECT_EQ(again.prompts()[4].logps, ten()[4].logps);
  EXPECT_EQ(again.prompts()[4].ids, ten()[4].ids);
  EXPECT_EQ(again.exploration_rows(), (std::vector<int64_t>{1, 3, 5, 7, 9}));
}

TEST(Rehearsal, NoPromptIsBothExploredAndRehearsedAndADroppedOneIsNeither) {
  testing::TempFolder folder;
  Rehearsal rehearsal = *open(folder.path() / "presample.jsonl");
  std::vector<PresampledPrompt> all = ten();
  all[1].label = PromptLabel::kDrop;
  all[3].label = PromptLabel::kIncomplete;
  ASSERT_TRUE(rehearsal.append(all).ok());
  EXPECT_EQ(rehearsal.exploration_rows(), (std::vector<int64_t>{3, 5, 7, 9}));
  for (const PresampledPrompt* p : rehearsal.samples(1, 0, 20)) EXPECT_EQ(p->row % 2, 0);
}

TEST(Rehearsal, ATornLastLineIsDroppedAndABrokenOneIsNamed) {
  testing::TempFolder folder;
  const Path file = folder.path() / "presample.jsonl";
  ASSERT_TRUE(open(file)->append(ten()).ok());
  ASSERT_TRUE(append_file(file, "{\"row\": 10, \"corr").ok());
  EXPECT_EQ(open(file)->prompts().size(), 10u);
  EXPECT_EQ(open(file)->prompts().size(), 10u);
  ASSERT_TRUE(append_file(file, "{\"row\": 10, \"corr\n").ok());
  const Status s = open(file).status();
  EXPECT_EQ(s.code(), Code::kDataLoss);
  EXPECT_NE(s.message().find("line 12"), std::string::npos) << s.message();
}

TEST(Rehearsal, ALineOutOfItsPlaceIsNamed) {
  testing::TempFolder folder;
  const Path file = folder.path() / "presample.jsonl";
  ASSERT_TRUE(open(file)->append(ten()).ok());
  ASSERT_TRUE(append_file(file, R"({"row": 99, "correct": 0, "label": "exp"})"
                                "\n")
                  .ok());
  const Status s = open(file).status();
  EXPECT_EQ(s.code(), Code::kDataLoss);
  EXPECT_NE(s.message().find("line 12"), std::string::npos) << s.message();
}

TEST(Rehearsal, WhatIsNotKeptIsGoneFromTheFileToo) {
  testing::TempFolder folder;
  const Path file = folder.path() / "presample.jsonl";
  Rehearsal r = *open(file);
  ASSERT_TRUE(r.append(ten()).ok());
  ASSERT_TRUE(r.keep(4).ok());
  ASSERT_TRUE(r.keep(7).ok());  // there are no more
  EXPECT_EQ(r.prompts().size(), 4u);
  EXPECT_EQ(open(file)->prompts().size(), 4u);
}

TEST(Rehearsal, AFileMadeWithSomethingElseIsRefusedNamingIt) {
  testing::TempFolder folder;
  const Path file = folder.path() / "presample.jsonl";
  ASSERT_TRUE(open(file)->append(ten()).ok());
  Json other = kMadeWith;
  other["presample.threshold"] = 6;
  const Status s = Rehearsal::open(file, other).status();
  EXPECT_EQ(s.code(), Code::kFailedPrecondition);
  EXPECT_NE(s.message().find("made with another 'presample.threshold' (8, now 6); undo"), std::string::npos)
      << s.message();
  EXPECT_EQ(open(file)->prompts().size(), 10u) << "a refusal changes nothing";
}

TEST(Rehearsal, AFileThatDoesNotSayWhatItWasMadeWithIsRefused) {
  testing::TempFolder folder;
  const Path file = folder.path() / "presample.jsonl";
  for (const std::string line : {R"({"row": 0, "correct": 0, "label": "exp"})", "{\"made_with\": 8}", "{"}) {
    ASSERT_TRUE(write_file_atomic(file, line + "\n").ok());
    const Status s = open(file).status();
    EXPECT_EQ(s.code(), Code::kDataLoss);
    EXPECT_NE(s.message().find("line 1 does not say"), std::string::npos) << s.message();
  }
}

TEST(Rehearsal, AFileWithoutAWholeLineIsBegunAgain) {
  testing::TempFolder folder;
  const Path file = folder.path() / "presample.jsonl";
  ASSERT_TRUE(write_file_atomic(file, "{\"made_wi").ok());
  ASSERT_TRUE(open(file)->append(ten()).ok());
  EXPECT_EQ(open(file)->prompts().size(), 10u);
}

TEST(Rehearsal, EachEpochRehearsesEveryStoredSampleOnce) {
  testing::TempFolder folder;
  Rehearsal r = *open(folder.path() / "presample.jsonl");
  ASSERT_TRUE(r.append(ten()).ok());
  std::multiset<int64_t> seen;
  for (int64_t step = 0; step < 5; ++step) {
    for (const PresampledPrompt* p : r.samples(7, step, 3)) seen.insert(p->row);
  }
  for (const int64_t row : {0, 2, 4, 6, 8}) EXPECT_EQ(seen.count(row), 3u);
  EXPECT_TRUE(open(folder.path() / "none.jsonl")->samples(7, 0, 3).empty());
}

}  // namespace
}  // namespace fulcrum
