#include "engine/core/flat_json.h"

#include <gtest/gtest.h>

namespace fulcrum {
namespace {

TEST(FlatJson, IsWhatTheFullParserReads) {
  for (const char* text : {"{}", " { } ", R"({"a":1,"b":-2,"c":"x","d":true,"e":false,"f":null})",
                           "{ \"a\" :\t1 ,\r\n\"b\":\"\" }",
                           R"({"text":"line\nline \"q\" \\ \/ \b\f\r\t \u0041\u00e9\u2019\u0000 end"})",
                           R"({"n":999999999999999999,"m":-999999999999999999,"z":0})",
                           "{\"\xC3\xA9\":\"\xF0\x9F\x98\x80 \x7F\"}"}) {
    const std::optional<Json> quick = parse_flat_object(text);
    ASSERT_TRUE(quick) << text;
    const Json full = Json::parse(text);
    EXPECT_EQ(*quick, full) << text;
    EXPECT_EQ(dump_json(*quick), dump_json(full)) << text;
    for (const auto& [key, value] : full.items()) EXPECT_EQ(quick->at(key).type(), value.type()) << text;
  }
}

TEST(FlatJson, LeavesTheRestToTheFullParser) {
  for (const char* text : {"",
                           "{",
                           "[]",
                           "1",
                           "{}x",
                           "{} {}",
                           R"({"a":1)",
                           R"({"a":1,})",
                           R"({"a" 1})",
                           R"({a:1})",
                           R"({"a":01})",
                           R"({"a":-})",
                           R"({"a":-0})",
                           R"({"a":1.5})",
                           R"({"a":1e5})",
                           R"({"a":9999999999999999999})",
                           R"({"a":[1]})",
                           R"({"a":{}})",
                           R"({"a":1,"a":2})",
                           R"({"a":"\x"})",
                           R"({"a":"\u12"})",
                           R"({"a":"\u12g4"})",
                           R"({"a":"\ud83d\ude00"})",
                           R"({"a":"\ud83d"})",
                           R"({"a":"unended})",
                           R"({"a":nul})",
                           R"({"a":truely})",
                           "{\"a\":\"\n\"}",
                           "{\"a\":\"\xFF\"}",
                           "\xEF\xBB\xBF{}",
                           "// comment\n{}"}) {
    EXPECT_FALSE(parse_flat_object(text)) << text;
  }
  std::string wide = "{";
  for (int i = 0; i < 17; ++i) wide += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":1";
  EXPECT_FALSE(parse_flat_object(wide + "}"));
  EXPECT_TRUE(parse_json(wide + "}").ok());
}

}  // namespace
}  // namespace fulcrum
