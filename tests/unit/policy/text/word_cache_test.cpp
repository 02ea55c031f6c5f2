// Words that are remembered change no id: not where they collide, not where two threads ask at once.
#include "policy/text/word_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/unit/policy/text/tiny_files.h"

namespace fulcrum {
namespace {

using namespace testing;  // the tiny files

std::vector<TokenId> found(const WordCache& cache, std::string_view word) {
  const auto ids = cache.find(word);
  return {ids.begin(), ids.end()};
}

TEST(WordCache, GivesTheIdsOfThatWordOrNone) {
  WordCache cache;
  EXPECT_TRUE(cache.find("word").empty());
  EXPECT_TRUE(cache.find("").empty());
  cache.remember("word", std::vector<TokenId>{1, 2});
  EXPECT_EQ(found(cache, "word"), (Ids{1, 2}));
  EXPECT_TRUE(cache.find("wor").empty());
  EXPECT_TRUE(cache.find("").empty());
}

TEST(WordCache, MoreWordsThanPlacesDriveEachOtherOutAndAreNeverMistaken) {
  WordCache cache;
  constexpr TokenId kWords = 300'000;
  size_t here = 0;
  for (TokenId i = 0; i < kWords; ++i) cache.remember("w" + std::to_string(i), Ids{i});
  for (TokenId i = 0; i < kWords; ++i) {
    const Ids ids = found(cache, "w" + std::to_string(i));
    if (ids.empty()) continue;
    EXPECT_EQ(ids, Ids{i});
    ++here;
  }
  EXPECT_GT(here, 30'000u);
  EXPECT_LT(here, 300'000u);
}

TEST(WordCache, LeavesOutWhatDoesNotFit) {
  WordCache cache;
  const std::string longest(WordCache::kLongest, 'a');
  cache.remember(longest, Ids(WordCache::kMostIds, 7));
  EXPECT_EQ(found(cache, longest), Ids(WordCache::kMostIds, 7));
  cache.remember(longest + "a", Ids{1});
  EXPECT_TRUE(cache.find(longest + "a").empty());
  cache.remember("b", Ids(WordCache::kMostIds + 1, 7));
  EXPECT_TRUE(cache.find("b").empty());
  cache.remember("c", {});
  EXPECT_TRUE(cache.find("c").empty());
}

TEST(WordCache, ThreadsThatEncodeAtOnceGetTheIdsOfOneAlone) {
  TokenizerFolder folder;
  folder.put("tokenizer.json", dump_json(tiny_byte_level()));
  std::vector<std::string> texts;
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (int bit = 0; bit < 9; ++bit) text += (i >> bit) % 2 == 0 ? " ab" : " abcab";
    texts.push_back(text);
  }
  std::vector<Ids> want;
  for (const std::string& text : texts)
    want.push_back(encode(folder.load(), text));  // each by a new tokenizer
  const auto shared = folder.load();
  ASSERT_TRUE(shared.ok());
  std::vector<std::vector<Ids>> got(4);
  std::vector<std::jthread> threads;
  for (auto& mine : got) {
    threads.emplace_back([&] {
      for (const std::string& text : texts) mine.push_back(*(*shared)->encode(text, false));
    });
  }
  threads.clear();
  for (const auto& mine : got) EXPECT_EQ(mine, want);
}

}  // namespace
}  // namespace fulcrum
