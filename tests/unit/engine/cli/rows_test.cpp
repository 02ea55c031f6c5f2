#include "engine/cli/rows.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "engine/core/files.h"
#include "tests/support/test_data.h"

namespace fulcrum::cli {
namespace {

using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

class Rows : public ::testing::Test {
 protected:
  RowFiles files(const std::string& input) {
    EXPECT_TRUE(write_file_atomic(path("in.jsonl"), input).ok());
    return {.input = path("in.jsonl"), .output = path("out.jsonl")};
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string written() const { return read_file(folder_.path() / "out.jsonl").value(); }

  testing::TempFolder folder_;
};

Status add_double(Row& row) {
  TRY(n, get_int(row.fields, "n"));
  row.added["double"] = 2 * n;
  return ok_status();
}

TEST_F(Rows, KeepTheirOrderTheirFieldsAndGainTheNewOne) {
  EXPECT_EQ(for_each_row(files("{\"z\":true,\"n\":3}\n\n{\"n\":1}\n"), add_double), 0);
  EXPECT_EQ(written(), "{\"z\":true,\"n\":3,\"double\":6}\n{\"n\":1,\"double\":2}\n");
}

TEST_F(Rows, AreWrittenAsTheyCame) {
  EXPECT_EQ(
      for_each_row(files("{ \"n\": 1, \"x\": 1.50, \"s\": \"\\u00e9\" } \r\n{\"n\":2,\"ids\":[1, 2]}\n"),
                   add_double),
      0);
  EXPECT_EQ(
      written(),
      "{ \"n\": 1, \"x\": 1.50, \"s\": \"\\u00e9\" ,\"double\":2}\n{\"n\":2,\"ids\":[1, 2],\"double\":4}\n");
}

TEST_F(Rows, WhoseFieldIsReplacedKeepItInItsPlace) {
  EXPECT_EQ(for_each_row(files("{\"double\":\"old\", \"n\":1}\n"), add_double), 0);
  EXPECT_EQ(written(), "{\"double\":2,\"n\":1}\n");
}

TEST_F(Rows, ThatCouldDriveATerminalAreWrittenInAscii) {
  EXPECT_EQ(for_each_row(files("{\"s\":\"\xC2\x9B\", \"n\":1}\n"), add_double), 0);
  EXPECT_EQ(written(), "{\"s\":\"\\u009b\",\"n\":1,\"double\":2}\n");
}

TEST_F(Rows, ThatGainNothingOrHaveNothingAreRowsToo) {
  const auto add_one = [](Row& row) {
    if (row.fields.empty()) row.added["one"] = 1;
    return ok_status();
  };
  EXPECT_EQ(for_each_row(files("{\"n\": 1}\n{ }\n"), add_one), 0);
  EXPECT_EQ(written(), "{\"n\": 1}\n{ \"one\":1}\n");
}

TEST_F(Rows, ThatAreBadBecomeErrorFieldsAndExitCodeOne) {
  EXPECT_EQ(for_each_row(files("{\"n\":1}\n{\"n\":\n[2]\n{\"m\":3}\n{\"n\":4}\n"), add_double), 1);
  const std::vector<std::string> lines = [&] {
    std::vector<std::string> out;
    std::istringstream in(written());
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
  }();
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0], "{\"n\":1,\"double\":2}");
  const Json broken = parse_json(lines[1]).value(), list = parse_json(lines[2]).value(),
             lacking = parse_json(lines[3]).value();
  EXPECT_EQ(broken["line"], 2);
  EXPECT_NE(broken["error"].get<std::string>().find("in.jsonl:2: "), std::string::npos) << lines[1];
  EXPECT_NE(list["error"].get<std::string>().find("in.jsonl:3: a row must be a JSON object"),
            std::string::npos)
      << lines[2];
  EXPECT_EQ(lacking["m"], 3);
  EXPECT_NE(lacking["error"].get<std::string>().find("'n'"), std::string::npos) << lines[3];
  EXPECT_EQ(lines[4], "{\"n\":4,\"double\":8}");
}

TEST_F(Rows, ComeInBatchesOfTheRowsThatCouldBeRead) {
  std::vector<size_t> sizes;
  const AddFields count = [&](std::span<Row> rows) {
    sizes.push_back(rows.size());
    return std::vector<Status>(rows.size());
  };
  EXPECT_EQ(for_each_batch(files("{\"n\":1}\nx\n{\"n\":2}\n{\"n\":3}\n"), 3, count), 1);
  EXPECT_EQ(sizes, (std::vector<size_t>{2, 1}));
}

TEST_F(Rows, ThatComeFromNoFileAreWrittenOrTheirFailureIsTheExitCode) {
  const RowFiles to{.output = path("out.jsonl")};
  const AddFields add = [](std::span<Row> rows) { return std::vector{add_double(rows.front())}; };
  EXPECT_EQ(for_one_row(to, {{"n", 2}}, add), 0);
  EXPECT_EQ(written(), "{\"n\":2,\"double\":4}\n");
  CaptureStderr();
  EXPECT_EQ(for_one_row(to, {{"n", "x"}}, add), 2);
  EXPECT_EQ(GetCapturedStderr(), "fulcrum: key 'n' must be an integer, not string\n");
  EXPECT_EQ(written(), "");
}

TEST_F(Rows, OfAnEmptyFileAreNoneAndThatIsFine) {
  EXPECT_EQ(for_each_row(files(""), add_double), 0);
  EXPECT_EQ(written(), "");
}

TEST_F(Rows, MissingInputIsThreeAndLeavesNoOutput) {
  CaptureStderr();
  EXPECT_EQ(for_each_row({.input = path("absent"), .output = path("out.jsonl")}, add_double), 3);
  EXPECT_TRUE(GetCapturedStderr().starts_with("fulcrum: cannot open '"));
  EXPECT_FALSE(std::filesystem::exists(path("out.jsonl")));
}

TEST_F(Rows, AFolderAsInputIsTwo) {
  CaptureStderr();
  EXPECT_EQ(for_each_row({.input = folder_.path().string(), .output = path("out.jsonl")}, add_double), 2);
  EXPECT_NE(GetCapturedStderr().find("is a folder"), std::string::npos);
}

TEST_F(Rows, OutputIntoAFolderThatIsNotThereIsThree) {
  RowFiles f = files("{\"n\":1}\n");
  f.output = path("absent/out.jsonl");
  CaptureStderr();
  EXPECT_EQ(for_each_row(f, add_double), 3);
  EXPECT_TRUE(GetCapturedStderr().starts_with("fulcrum: cannot write '"));
}

TEST_F(Rows, OutputOnAFullDiskIsSix) {
  RowFiles f = files("{\"n\":1}\n");
  f.output = "/dev/full";
  CaptureStderr();
  EXPECT_EQ(for_each_row(f, add_double), 6);
  EXPECT_EQ(GetCapturedStderr(), "fulcrum: cannot write '/dev/full': No space left on device\n");
}

TEST_F(Rows, AreNeverOverwrittenByTheirOwnOutput) {
  RowFiles f = files("{\"n\":1}\n");
  f.output = path("../" + folder_.path().filename().string() + "/in.jsonl");
  CaptureStderr();
  EXPECT_EQ(for_each_row(f, add_double), 2);
  EXPECT_NE(GetCapturedStderr().find("read and cannot be written"), std::string::npos);
  EXPECT_EQ(read_file(f.input).value(), "{\"n\":1}\n");
}

// A tool behind a pipe answers each row before the next one comes.
TEST_F(Rows, OfAPipeAreWrittenEachAtOnce) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  std::jthread feeder([&] { std::ofstream(path("pipe")) << "{\"n\":1}\n{\"n\":2}\n"; });
  std::vector<std::string> seen;
  const auto look = [&](Row& row) {
    seen.push_back(written());
    return add_double(row);
  };
  EXPECT_EQ(for_each_row({.input = path("pipe"), .output = path("out.jsonl")}, look), 0);
  EXPECT_EQ(seen, (std::vector<std::string>{"", "{\"n\":1,\"double\":2}\n"}));
}

TEST_F(Rows, OfAFileAreAllThereAtTheEndHoweverMany) {
  std::string in, out;
  for (int i = 0; i < 20000; ++i) {
    in += "{\"n\":" + std::to_string(i) + "}\n";
    out += "{\"n\":" + std::to_string(i) + ",\"double\":" + std::to_string(2 * i) + "}\n";
  }
  EXPECT_EQ(for_each_row(files(in), add_double), 0);
  EXPECT_EQ(written(), out);
}

TEST_F(Rows, StopAtASignalWithWhatIsWritten) {
  std::stop_source stop;
  CaptureStderr();
  const int code = for_each_row(
      files("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n"),
      [&](Row& row) {
        if (row.fields["n"] == 2) stop.request_stop();
        return add_double(row);
      },
      stop.get_token());
  EXPECT_EQ(code, 130);
  EXPECT_EQ(GetCapturedStderr(), "fulcrum: stopped by a signal; 1 rows are written\n");
  EXPECT_EQ(written(), "{\"n\":1,\"double\":2}\n");
}

}  // namespace
}  // namespace fulcrum::cli
