#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "engine/core/config.h"
#include "engine/core/files.h"
#include "engine/core/hash.h"
#include "engine/core/log.h"
#include "engine/core/rng.h"
#include "engine/core/text.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

TEST(Philox, MatchesTheAuthorsKnownAnswers) {
  // kat_vectors of Random123: philox 4x32 10 rounds.
  EXPECT_EQ(philox(0, 0, 0), (PhiloxBlock{0x6627E8D5u, 0xE169C58Du, 0xBC57AC4Cu, 0x9B00DBD8u}));
  EXPECT_EQ(philox(~0ull, ~0ull, ~0ull), (PhiloxBlock{0x408F276Du, 0x41C83B0Eu, 0xA20BC7C6u, 0x6D5451FDu}));
  EXPECT_EQ(philox(0x299F31D0A4093822ull, 0x85A308D3243F6A88ull, 0x0370734413198A2Eull),
            (PhiloxBlock{0xD16CFE09u, 0x94FDCCEBu, 0x5001E420u, 0x24126EA1u}));
}

TEST(Rng, StreamsOfDifferentCoordinatesDiffer) {
  EXPECT_NE(Rng(1, Purpose::kTest, {1, 2}).next_u64(), Rng(1, Purpose::kTest, {2, 1}).next_u64());
  EXPECT_NE(Rng(1, Purpose::kTest).next_u64(), Rng(1, Purpose::kSampling).next_u64());
  EXPECT_EQ(Rng(1, Purpose::kTest, {7}).uniform_at(5), Rng(1, Purpose::kTest, {7}).uniform_at(5));
}

TEST(Rng, BelowIsUniform) {
  Rng rng(3, Purpose::kTest);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts[rng.below(7)];
  for (const int c : counts) EXPECT_NEAR(c, 10000, 400);
}

TEST(Json, ErrorsNameLineAndColumn) {
  EXPECT_NE(parse_json("{\n  \"a\": x}").status().message().find("line 2, column"), std::string::npos);
  EXPECT_NE(parse_json(std::string(100, '[')).status().message().find("deeper than 64"), std::string::npos);
  EXPECT_TRUE(parse_json("{\"a\": 1 /* c */}", {.comments = true}).ok());
  EXPECT_FALSE(parse_json("{\"a\": 1 /* c */}").ok());
}

TEST(Json, AKeyTwiceInAConfigIsAnErrorWithItsLineAndInARowTheLastCounts) {
  const auto refused = [](const std::string& text) {
    return parse_json(text, {.comments = true}).status().message();
  };
  const std::string two = "{\n  \"a\": 1,  // one\n  \"b\": {\"a\": 2},\n  \"a\":\n3}";
  EXPECT_EQ(refused(two), "line 4: key 'a' is there already; keep one");
  EXPECT_EQ(parse_sorted_json(two, {.comments = true}).status().message(), refused(two));
  EXPECT_EQ(refused("{\"a\":[{\"x\":1},{\"x\":2,\n\"x\":{}}]}"),
            "line 2: key 'x' is there already; keep one");
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += "\"" + std::to_string(i) + "\":1,\n";
  EXPECT_EQ(refused(many + "\"50\":1}"), "line 101: key '50' is there already; keep one");
  EXPECT_EQ(refused("{\"a\x1b[2J\":1,\"a\x1b[2J\":1}").find('\x1b'), std::string::npos);
  EXPECT_TRUE(parse_json("{\"a\": {\"b\": 1}, \"b\": [{\"b\": 1}, {\"b\": 1}]}", {.comments = true}).ok());
  EXPECT_EQ(dump_json(*parse_json(R"({"a":1,"b":2,"a":3})")), R"({"a":3,"b":2})");
}

TEST(Json, KeepsTheOrderOfMembers) {
  EXPECT_EQ(dump_json(*parse_json(R"({"z":1,"a":[true,null,"x"],"m":{"q":-1.5}})")),
            R"({"z":1,"a":[true,null,"x"],"m":{"q":-1.5}})");
}

TEST(Json, AMillionMembersTakeNoQuadraticTimeAndTheLastOfAKeyCounts) {
  std::string text = "{";
  for (int i = 0; i < 1'000'000; ++i) text += "\"" + std::to_string(i) + "\":1,";
  const Result<Json> json = parse_json(text + R"("7":2,"a":3,"a":4})");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->size(), 1'000'001u);
  EXPECT_EQ(std::next(json->begin(), 7).key(), "7");
  EXPECT_EQ(std::next(json->begin(), 7).value(), 2);
  EXPECT_EQ(json->back().get<int>(), 4);
}

TEST(Text, PrintableEscapesWhatCouldDriveATerminal) {
  EXPECT_EQ(printable("a\x1b[2Jb\n"), "a\\x1B[2Jb\\n");
  EXPECT_EQ(printable("\xff\xe2\x80\xae"
                      "é"),
            "\\xFF\\u{202E}é");
  EXPECT_EQ(printable("\u061C"), "\\u{61C}");
  EXPECT_EQ(printable(std::string(300, 'a'), 10), "aaaaaaaaaa...");
}

TEST(Hash, MatchesPublishedValues) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  // RFC 3720, B.4: 32 bytes of 0, of 0xFF, and 0 ... 31.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  std::string rising;
  for (char c = 0; c < 32; ++c) rising += c;
  EXPECT_EQ(crc32c(rising), 0x46DD794Eu);
}

TEST(Hash, OfSixtyFourBitsSeesEveryBitAndTheLength) {
  const auto of = [](const std::string& text) { return hash64(std::as_bytes(std::span(text))); };
  std::set<uint64_t> seen;
  size_t texts = 0;
  for (const size_t size : {0, 1, 7, 8, 63, 64, 65, 128, 200}) {
    std::string text(size, 'a');
    seen.insert(of(text));
    ++texts;
    for (size_t bit = 0; bit < 8 * size; ++bit, ++texts) {
      std::string other = text;
      other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
      seen.insert(of(other));
    }
  }
  EXPECT_EQ(seen.size(), texts);
  EXPECT_NE(of(std::string(64, '\0')), of(std::string(65, '\0')));
  EXPECT_NE(of("12345678"
               "abcdefgh"),
            of("abcdefgh"
               "12345678"))
      << "places count";
}

struct Inner {
  std::string name = "x";
  double weight = 1;
  void visit(ConfigVisitor& v) {
    v.field("name", name, "its name");
    v.field("weight", weight, at_least(0), "its weight");
  }
};
struct Outer {
  int64_t steps = 10;
  std::optional<double> high;
  std::string kind = "a";
  Inner inner;
  std::vector<Inner> items;
  void visit(ConfigVisitor& v) {
    v.field("max_steps", steps, at_least(1), "steps");
    v.field("epsilon_high", high, above(0), "upper");
    v.field("kind", kind, Choices{{"a", "b"}}, "kind");
    v.section("inner", inner, "inner");
    v.list("items", items, "items");
  }
};

TEST(Config, ReadsWhatItWrites) {
  Outer c;
  c.high = 0.25;
  c.items.resize(2);
  c.items[1].name = "y";
  const Json j = write_config(c);
  EXPECT_EQ(dump_json(write_config(*read_config<Outer>(j))), dump_json(j));
}

TEST(Config, ReportsEveryErrorAtOnceWithTheNearestName) {
  const auto r = read_config<Outer>(*parse_json(
      R"({"max_step": 3, "epsilon_high": 0, "kind": "c", "inner": {"nam": 1}, "items": [{"weight": -1}]})"));
  ASSERT_FALSE(r.ok());
  const std::string m = r.status().message();
  EXPECT_NE(m.find("unknown key 'max_step'; did you mean 'max_steps'?"), std::string::npos) << m;
  EXPECT_NE(m.find("'epsilon_high' is 0; it must be > 0"), std::string::npos) << m;
  EXPECT_NE(m.find("'c' is not one of a, b"), std::string::npos) << m;
  EXPECT_NE(m.find("'inner.nam'; did you mean 'inner.name'?"), std::string::npos) << m;
  EXPECT_NE(m.find("'items[0].weight' is -1"), std::string::npos) << m;
}

TEST(Config, AnUnknownKeyLikeNoOtherIsAnsweredByThoseOfItsSection) {
  const auto said = [](const char* json) { return read_config<Outer>(*parse_json(json)).status().message(); };
  EXPECT_EQ(said(R"({"inner": {"colour": 1, "qqqq": 2}})"),
            "unknown key 'inner.colour' (known here: name, weight); unknown key 'inner.qqqq'");
  EXPECT_EQ(said(R"({"items": [{"colour": 1}]})"),
            "unknown key 'items[0].colour' (known here: name, weight)");
}

TEST(Config, OneThatFitsNoKeyOfAJobIsAnsweredByWhereTheyAreListed) {
  struct Many {
    std::array<int64_t, 30> values{};
    void visit(ConfigVisitor& v) {
      for (size_t i = 0; i < values.size(); ++i) v.field("k" + std::to_string(i), values[i], any_value(), "");
    }
  };
  EXPECT_EQ(read_config<Many>(*parse_json(R"({"colour": 1, "qqqq": 2})")).status().message(),
            "unknown key 'colour' (`fulcrum config schema` lists the keys); unknown key 'qqqq'");
}

TEST(Config, ANumberThatNoDoubleHoldsIsSaidToBeOutOfRange) {
  EXPECT_EQ(parse_json("{\"a\": 1,\n \"b\": -1e400\n}", {.comments = true}).status().message(),
            "line 2: the number -1e400 is out of range: the largest is 1.8e308");
  EXPECT_EQ(parse_json("[1e400]").status().message(),
            "the number 1e400 is out of range: the largest is 1.8e308");
  Json j = Json::object();
  EXPECT_EQ(apply_override(j, "inner.weight=1e400").message(),
            "override 'inner.weight=1e400': the number 1e400 is out of range: the largest is 1.8e308");
  EXPECT_TRUE(apply_override(j, "name=1e400 times").ok());
}

TEST(Config, AnEmptyChoiceIsShownAsOne) {
  struct Kind {
    std::string kind;
    void visit(ConfigVisitor& v) { v.field("kind", kind, Choices{{"", "k1"}}, "kind"); }
  };
  EXPECT_EQ(read_config<Kind>(*parse_json(R"({"kind": "x"})")).status().message(),
            "key 'kind': 'x' is not one of \"\", k1");
  EXPECT_EQ(config_keys<Kind>().at(0).range, "\"\" | k1");
  EXPECT_TRUE(read_config<Kind>(*parse_json(R"({"kind": ""})")).ok());
}

TEST(Config, AHostileOneCostsNoMoreThanItsOwnSize) {
  Json many = Json::object();
  for (int i = 0; i < 100; ++i) many["k" + std::to_string(i)] = i;
  const std::string message = read_config<Outer>(many).status().message();
  EXPECT_NE(message.find("unknown key 'k0'"), std::string::npos) << message;
  EXPECT_NE(message.find("; and 80 more"), std::string::npos) << message;
  const Json longest{{std::string(3'000'000, 'x'), 1}};
  EXPECT_LT(read_config<Outer>(longest).status().message().size(), 500u);
  const Json list{{"items", Json::array_t(2000, Json::object())}};
  EXPECT_NE(read_config<Outer>(list).status().message().find("'items' has 2000 items; at most 1000"),
            std::string::npos);
  Json document = Json::object();
  std::string deep = "a";
  for (int i = 0; i < 100'000; ++i) deep += ".a";
  EXPECT_NE(apply_override(document, deep + "=1").message().find("deeper than 64"), std::string::npos);
}

TEST(Config, SchemaAndKeysDescribeEveryField) {
  EXPECT_EQ(config_keys<Outer>().size(), 9u);
  const Json s = config_schema<Outer>();
  EXPECT_EQ(s["properties"]["items"]["items"]["properties"]["weight"]["minimum"], 0.0);
  EXPECT_EQ(s["properties"]["kind"]["enum"].size(), 2u);
}

TEST(Config, OverridesReachNestedKeysAndListItems) {
  Json j = *parse_json(R"({"items":[{"name":"a"}]})");
  ASSERT_TRUE(apply_override(j, "inner.weight=2.5").ok());
  ASSERT_TRUE(apply_override(j, "items.0.name=long name").ok());
  EXPECT_EQ(dump_json(j), R"({"items":[{"name":"long name"}],"inner":{"weight":2.5}})");
  EXPECT_FALSE(apply_override(j, "items.1.name=z").ok());
  EXPECT_FALSE(apply_override(j, "nothing").ok());
}

TEST(Files, AtomicWriteLeavesTheOldFileWhenItFails) {
  testing::TempFolder folder;
  const Path p = folder.path() / "f";
  ASSERT_TRUE(write_file_atomic(p, "one").ok());
  EXPECT_EQ(*read_file(p), "one");
  EXPECT_EQ(write_file_atomic(folder.path() / "no" / "f", "two").code(), Code::kNotFound);
  EXPECT_EQ(read_file(folder.path()).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(read_file(p, 2).status().code(), Code::kInvalidArgument);
}

Result<int> half(int x) {
  if (x % 2 != 0) return invalid_argument("odd");
  return x / 2;
}
Status twice(int x, int& out) {
  TRY(a, half(x));
  TRY_DO(half(a));
  out = a;
  return ok_status();
}
Result<std::vector<int>> three() { return std::vector<int>{1, 2, 3}; }

TEST(Files, OnlyARegularOneIsReadOrTaken) {
  const testing::TempFolder folder;
  const Path file = folder.path() / "file", link = folder.path() / "link", pipe = folder.path() / "pipe";
  ASSERT_TRUE(write_file_atomic(file, "x").ok());
  std::filesystem::create_symlink(file, link);
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(require_regular_file(file).ok());
  EXPECT_TRUE(require_regular_file(link).ok());
  EXPECT_EQ(require_regular_file(link, Links::kRefused).code(), Code::kInvalidArgument);
  for (const Path& path : {pipe, folder.path()}) {
    const Status taken = require_regular_file(path), read = read_file(path).status();
    EXPECT_EQ(taken.code(), Code::kInvalidArgument);
    EXPECT_NE(taken.message().find(path.filename().string() + "' is not a regular file"), std::string::npos);
    EXPECT_EQ(read.message(), taken.message());
    EXPECT_EQ(MappedFile::open(path).status().message(), taken.message());
  }
  EXPECT_EQ(require_regular_file(folder.path() / "none").code(), Code::kNotFound);
}

TEST(Result, AWalkOverATemporarysValueIsSafe) {
  int sum = 0;
  for (const int x : three().value()) sum += x;
  for (const int x : *three()) sum += x;
  EXPECT_EQ(sum, 12);
}

TEST(Status, TryReturnsTheFirstError) {
  int out = 0;
  EXPECT_TRUE(twice(8, out).ok());
  EXPECT_EQ(out, 4);
  EXPECT_EQ(twice(6, out).message(), "odd");
  EXPECT_EQ(twice(7, out).with_context("here").message(), "here: odd");
}

}  // namespace
}  // namespace fulcrum
