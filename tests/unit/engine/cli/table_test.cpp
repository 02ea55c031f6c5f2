#include "engine/cli/table.h"

#include <gtest/gtest.h>

namespace fulcrum::cli {
namespace {

Table jobs() {
  Table t{{"id", "step", "why"}, {}};
  t.rows.push_back({{"id", "job-000001"}, {"step", 7}, {"why", "done"}});
  t.rows.push_back({{"id", "é"}, {"step", 1200}});
  return t;
}

TEST(Table, AlignsColumnsWithNumbersToTheRightAndCountsCharactersNotBytes) {
  EXPECT_EQ(render(jobs(), "table"),
            "id          step  why\n"
            "job-000001     7  done\n"
            "é           1200\n");
}

TEST(Table, WithoutRowsHasItsHeadingOnly) { EXPECT_EQ(render({{"a", "b"}, {}}, "table"), "a  b\n"); }

TEST(Table, EscapesCellsThatCouldDriveATerminal) {
  Table t{{"name"}, {}};
  t.rows.push_back({{"name", "a\x1b[2J\nb"}});
  t.rows.push_back({{"name", Json::array({"x\x7fy"})}});
  EXPECT_EQ(render(t, "table"), "name\na\\x1B[2J\\nb\n[\"x\\u007fy\"]\n");
}

TEST(Table, CutsACellThatIsLongerThanItMayBe) {
  Table t{{"why"}, {}};
  t.rows.push_back({{"why", std::string(200, 'a') + ": build them together"}});
  EXPECT_EQ(render(t, "table").find("together"), std::string::npos);
  t.longest = 1000;
  EXPECT_NE(render(t, "table").find("build them together"), std::string::npos);
}

TEST(Table, ShowsFourDigitsOfANumberAndNothingForNull) {
  Table t{{"mean"}, {}};
  t.rows.push_back({{"mean", 0.123456}});
  t.rows.push_back({{"mean", nullptr}});
  EXPECT_EQ(render(t, "table"), "  mean\n0.1235\n\n");
}

TEST(Table, JsonAndJsonlHoldEveryMemberOfTheRows) {
  const Result<Json> array = parse_json(render(jobs(), "json"));
  ASSERT_TRUE(array.ok());
  EXPECT_EQ(*array, Json(jobs().rows));
  EXPECT_EQ(render(jobs(), "jsonl"),
            "{\"id\":\"job-000001\",\"step\":7,\"why\":\"done\"}\n{\"id\":\"é\",\"step\":1200}\n");
}

}  // namespace
}  // namespace fulcrum::cli
