#include "engine/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <numeric>

#include "engine/data/data_config.h"
#include "engine/data/jsonl.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using testing::TempFolder;

// One id a byte: 'a' is 97; BOS 256 if wanted, EOS 257.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(bool has_bos = true, bool has_eos = true) : has_bos_(has_bos), has_eos_(has_eos) {}
  Result<std::vector<TokenId>> encode(std::string_view text, bool add_special) const override {
    std::vector<TokenId> ids;
    if (add_special && has_bos_) ids.push_back(256);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(std::span<const TokenId> ids) const override { return {ids.begin(), ids.end()}; }
  int32_t vocab_size() const override { return 258; }
  std::optional<TokenId> bos() const override {
    return has_bos_ ? std::optional<TokenId>(256) : std::nullopt;
  }
  std::optional<TokenId> eos() const override {
    return has_eos_ ? std::optional<TokenId>(257) : std::nullopt;
  }
  std::optional<TokenId> pad() const override { return std::nullopt; }
  bool is_special(TokenId id) const override { return id >= 256; }

 private:
  bool has_bos_, has_eos_;
};

class DataFiles : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) {
    EXPECT_TRUE(write_file_atomic(folder_.path() / name, text).ok());
    return (folder_.path() / name).string();
  }
  Result<Dataset> open(RowFormat format, const std::string& text, DatasetOptions options = {},
                       const Tokenizer& tokenizer = ByteTokenizer()) {
    options.files = {file("data.jsonl", text)};
    options.format = format;
    return Dataset::open(options, tokenizer, 258);
  }
  std::string error(RowFormat format, const std::string& text, const DatasetOptions& options = {},
                    const Tokenizer& tokenizer = ByteTokenizer()) {
    return open(format, text, options, tokenizer).status().message();
  }
  TempFolder folder_;
};
using Jsonl = DataFiles;
using DatasetTest = DataFiles;

std::string numbered_prompts(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += "{\"prompt\":\"" + std::string(1, static_cast<char>('a' + i)) + "\"}\n";
  return text;
}

TEST_F(Jsonl, RowsComeInOrderWithTheirLinesAndTheirMembersInOrder) {
  const auto rows = read_jsonl(file("a.jsonl", "{\"z\":1,\"a\":\"\xC3\xA9\"}\r\n\n  \n{\"b\":2}"));
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ(dump_json((*rows)[0].columns), "{\"z\":1,\"a\":\"\xC3\xA9\"}");
  EXPECT_EQ(dump_json((*rows)[1].columns), R"({"b":2})");
  EXPECT_EQ((*rows)[0].line, 1);
  EXPECT_EQ((*rows)[1].line, 4);
  EXPECT_TRUE(read_jsonl(file("empty.jsonl", ""))->empty());
}

TEST(ParseRow, RefusesWhatIsNotOneObject) {
  EXPECT_TRUE(parse_row(" {\"a\":1}\r").ok());
  EXPECT_THAT(parse_row("{\"a\":}").status().message(), ::testing::StartsWith("column 6"));
  EXPECT_THAT(parse_row("3").status().message(), HasSubstr("must be a JSON object, not number"));
  EXPECT_THAT(parse_row("{\"a\":\"\xC0\x80\"}").status().message(), HasSubstr("not UTF-8"));
  EXPECT_THAT(parse_row(std::string(kMaxJsonlLine + 1, ' ')).status().message(),
              HasSubstr("longer than 16 MiB"));
}

TEST_F(Jsonl, TheFirstBrokenLineIsNamed) {
  const auto error_of = [&](const std::string& text) {
    return read_jsonl(file("a.jsonl", text)).status().message();
  };
  EXPECT_THAT(error_of("{}\n\n{\"a\":}\n"), HasSubstr("a.jsonl:3: column"));
  EXPECT_THAT(error_of("{}\n[1]\n"), HasSubstr("a.jsonl:2: a row must be a JSON object, not array"));
  EXPECT_THAT(error_of("{\"a\":\"\xff\"}"), HasSubstr("a.jsonl:1: the line is not UTF-8"));
  EXPECT_THAT(error_of("{} {}\n"), HasSubstr("a.jsonl:1: column"));
  EXPECT_THAT(error_of(std::string("{\"a\":1\0}", 8)), HasSubstr("a.jsonl:1:"));
  EXPECT_THAT(error_of("{\"a\":" + std::string(100, '[')), HasSubstr("deeper than 64"));
  EXPECT_EQ(read_jsonl(folder_.path() / "none").status().code(), Code::kNotFound);
  EXPECT_THAT(read_jsonl(folder_.path()).status().message(), HasSubstr("is a folder"));
}

TEST_F(Jsonl, AReaderGoesOnAfterABrokenLine) {
  auto reader = JsonlReader::open(file("a.jsonl", "{\"i\":0}\nbroken\n{\"i\":2}\n"));
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ((**reader->next())["i"], 0);
  EXPECT_FALSE(reader->next()->ok());
  EXPECT_THAT(reader->where(), HasSubstr("a.jsonl:2"));
  EXPECT_EQ((**reader->next())["i"], 2);
  EXPECT_FALSE(reader->next().has_value());
  EXPECT_FALSE(reader->next().has_value());
}

TEST_F(Jsonl, ALineMayHaveSixteenMebibytesAndNoMore) {
  const std::string frame = "{\"a\":\"\"}";
  const auto line = [&](size_t size) { return "{\"a\":\"" + std::string(size - frame.size(), 'x') + "\"}"; };
  auto reader =
      JsonlReader::open(file("a.jsonl", line(kMaxJsonlLine) + "\n" + line(kMaxJsonlLine + 1) + "\n{}\n"));
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(reader->next()->ok());
  EXPECT_THAT(reader->next()->status().message(), HasSubstr("a.jsonl:2: the line is longer than 16 MiB"));
  EXPECT_TRUE(reader->next()->ok());
  EXPECT_FALSE(reader->next().has_value());
}

TEST_F(DatasetTest, PromptsCarryTextTokensAndTheWholeRow) {
  const DatasetOptions options{.files = {file("a.jsonl", "{\"prompt\":\"ab\",\"solution\":\"4\"}\n"),
                                         file("b.jsonl", "\n{\"prompt\":\"c\"}\n")}};
  const auto data = Dataset::open(options, ByteTokenizer(), 258);
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->size(), 2);
  EXPECT_EQ(data->row(0).prompt.text, "ab");
  EXPECT_EQ(data->row(0).prompt.ids, (std::vector<TokenId>{256, 'a', 'b'}));
  EXPECT_EQ(data->row(0).prompt.columns["solution"], "4");
  EXPECT_EQ(data->row(1).prompt.row, 1);
  EXPECT_TRUE(data->row(1).completion.empty());
}

TEST_F(DatasetTest, EveryEpochIsAPermutationAndEpochsDiffer) {
  const auto data = open(RowFormat::kPrompt, numbered_prompts(20));
  ASSERT_TRUE(data.ok());
  std::vector<int64_t> all(20);
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::vector<int64_t>> epochs;
  for (int64_t e = 0; e < 3; ++e) {
    epochs.push_back(data->order(e * 20, 20));
    EXPECT_TRUE(std::is_permutation(all.begin(), all.end(), epochs.back().begin()));
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  EXPECT_NE(epochs[0], all);
}

TEST_F(DatasetTest, OrderIsAFunctionOfSeedAndPositionAlone) {
  const auto data = open(RowFormat::kPrompt, numbered_prompts(7), {.seed = 7});
  const auto long_order = data->order(0, 50);
  for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(data->order(i, 1)[0], long_order[static_cast<size_t>(i)]);
  EXPECT_EQ(open(RowFormat::kPrompt, numbered_prompts(7), {.seed = 7})->order(0, 50), long_order);
  EXPECT_NE(open(RowFormat::kPrompt, numbered_prompts(7), {.seed = 8})->order(0, 50), long_order);
}

TEST_F(DatasetTest, AStepTakesItsShareAndCrossesEpochs) {
  const auto data = open(RowFormat::kPrompt, numbered_prompts(4), {.shuffle = false});
  std::string seen;
  for (int64_t step = 0; step < 4; ++step) {
    const auto rows = data->step_rows(step, 3);
    ASSERT_EQ(rows.size(), 3u);
    for (const DataRow* row : rows) seen += row->prompt.text;
  }
  EXPECT_EQ(seen, "abcdabcdabcd");
  const auto shuffled = open(RowFormat::kPrompt, numbered_prompts(4));
  const auto rows = shuffled->step_rows(5, 9);
  ASSERT_EQ(rows.size(), 9u);
  EXPECT_EQ(rows[2], &shuffled->row(shuffled->order(47, 1)[0]));
}

TEST_F(DatasetTest, KeptRowsAreAllThatTheOrderGivesAndOthersCanStillBeRead) {
  auto data = open(RowFormat::kPrompt, numbered_prompts(6));
  ASSERT_TRUE(data->keep_rows({1, 3, 4}).ok());
  const std::vector<int64_t> kept{1, 3, 4};
  for (int64_t e = 0; e < 4; ++e) {
    const auto epoch = data->order(e * 3, 3);
    EXPECT_TRUE(std::is_permutation(kept.begin(), kept.end(), epoch.begin()));
  }
  EXPECT_EQ(data->size(), 6);
  EXPECT_EQ(data->row(5).prompt.text, "f");
  EXPECT_THAT(data->keep_rows({}).message(), HasSubstr("no rows are left"));
  EXPECT_THAT(data->keep_rows({6}).message(), HasSubstr("no row 6"));
  EXPECT_FALSE(data->keep_rows({-1}).ok());
}

TEST_F(DatasetTest, PairsAreEncodedWithOneBosAndAnEos) {
  const auto data = open(RowFormat::kPreference, R"({"prompt":"p","chosen":"good","rejected":""})");
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->row(0).prompt.ids, (std::vector<TokenId>{256, 'p'}));
  EXPECT_EQ(data->row(0).completion, (std::vector<TokenId>{'g', 'o', 'o', 'd', 257}));
  EXPECT_EQ(data->row(0).rejected, std::vector<TokenId>{257});
}

TEST_F(DatasetTest, EosIsLeftOutWhenNotAskedForOrNotThere) {
  const std::string text = "{\"prompt\":\"p\",\"completion\":\"ab\"}\n";
  const std::vector<TokenId> bare{'a', 'b'};
  EXPECT_EQ(open(RowFormat::kCompletion, text, {.append_eos = false})->row(0).completion, bare);
  EXPECT_EQ(open(RowFormat::kCompletion, text, {}, ByteTokenizer(true, false))->row(0).completion, bare);
}

TEST_F(DatasetTest, ATextIsLearntButItsFirstToken) {
  const auto data = open(RowFormat::kCompletion, "{\"text\":\"abc\"}\n");
  EXPECT_EQ(data->row(0).prompt.ids, std::vector<TokenId>{256});
  EXPECT_EQ(data->row(0).completion, (std::vector<TokenId>{'a', 'b', 'c', 257}));
  const auto bare = open(RowFormat::kCompletion, "{\"text\":\"abc\"}\n", {}, ByteTokenizer(false, false));
  EXPECT_EQ(bare->row(0).prompt.ids, std::vector<TokenId>{'a'});
  EXPECT_EQ(bare->row(0).completion, (std::vector<TokenId>{'b', 'c'}));
}

TEST_F(DatasetTest, PromptAndCompletionWinOverText) {
  const auto data =
      open(RowFormat::kCompletion, "{\"prompt\":\"1+1=\",\"completion\":\"2\",\"text\":\"ignored\"}\n");
  EXPECT_EQ(data->row(0).prompt.ids, (std::vector<TokenId>{256, '1', '+', '1', '='}));
  EXPECT_EQ(data->row(0).completion, (std::vector<TokenId>{'2', 257}));
}

TEST_F(DatasetTest, MissingColumnsNameFileAndLine) {
  EXPECT_THAT(error(RowFormat::kPrompt, "{\"prompt\":\"a\"}\n{\"question\":\"b\"}\n"),
              HasSubstr("data.jsonl:2: column 'prompt' is missing"));
  EXPECT_THAT(error(RowFormat::kPreference, "{\"prompt\":\"a\",\"chosen\":\"b\"}\n"),
              HasSubstr("data.jsonl:1: column 'rejected' is missing"));
  EXPECT_THAT(error(RowFormat::kCompletion, "{\"prompt\":\"a\"}\n"),
              HasSubstr("data.jsonl:1: column 'completion' is missing"));
  EXPECT_THAT(error(RowFormat::kPrompt, "{\"prompt\":3}\n"),
              HasSubstr("column 'prompt' must be text, not number"));
  EXPECT_THAT(error(RowFormat::kPrompt, "{\"prompt\":null}\n"),
              HasSubstr("column 'prompt' must be text, not null"));
  EXPECT_THAT(error(RowFormat::kCompletion, "{\"messages\":[]}\n"),
              HasSubstr("has 'messages' but no 'prompt'"));
  EXPECT_THAT(error(RowFormat::kPrompt, "{\"prompt\":[{\"role\":\"user\"}]}\n"),
              HasSubstr("column 'prompt' is a chat"));
  EXPECT_THAT(error(RowFormat::kPrompt, "{\"prompt\":\"a\"}\n{\n"), HasSubstr("data.jsonl:2: column"));
}

TEST_F(DatasetTest, RowsNothingCanBeLearntFromAreErrors) {
  EXPECT_THAT(error(RowFormat::kPrompt, "{\"prompt\":\"\"}\n", {}, ByteTokenizer(false)),
              HasSubstr("data.jsonl:1: the prompt is empty"));
  EXPECT_TRUE(open(RowFormat::kPrompt, "{\"prompt\":\"\"}\n").ok());
  EXPECT_THAT(error(RowFormat::kCompletion, "{\"text\":\"\"}\n", {}, ByteTokenizer(false)),
              HasSubstr("the text is empty"));
  EXPECT_THAT(error(RowFormat::kPrompt, "\n\n"), HasSubstr("no rows in"));
  EXPECT_THAT(Dataset::open({}, ByteTokenizer(), 258).status().message(), HasSubstr("no data files"));
}

TEST_F(DatasetTest, ATokenizerThatDoesNotFitTheModelIsNamedWithItsRow) {
  const DatasetOptions options{.files = {file("a.jsonl", "{\"prompt\":\"a\"}\n")}};
  EXPECT_TRUE(Dataset::open(options, ByteTokenizer(), 257).ok());
  EXPECT_THAT(Dataset::open(options, ByteTokenizer(), 256).status().message(),
              HasSubstr("a.jsonl:1: the tokenizer gives id 256, the model has 256 tokens"));
}

TEST_F(DatasetTest, AnEosTheModelDoesNotHaveIsAnErrorToo) {
  const DatasetOptions options{.files = {file("a.jsonl", "{\"prompt\":\"a\",\"completion\":\"b\"}\n")},
                               .format = RowFormat::kCompletion};
  EXPECT_THAT(Dataset::open(options, ByteTokenizer(), 257).status().message(),
              HasSubstr("the tokenizer gives id 257"));
}

TEST_F(DatasetTest, OverlongRowsStopOrAreLeftOutAndCounted) {
  const std::string text = "{\"prompt\":\"ab\"}\n{\"prompt\":\"abc\"}\n{\"prompt\":\"c\"}\n";
  EXPECT_THAT(error(RowFormat::kPrompt, text, {.max_prompt_length = 3}),
              HasSubstr("data.jsonl:2: the prompt has 4 tokens, 'max_prompt_length' is 3"));
  const auto data = open(RowFormat::kPrompt, text, {.max_prompt_length = 3, .drop_overlong = true});
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data->size(), 2);
  EXPECT_EQ(data->dropped(), 1);
  EXPECT_EQ(data->row(1).prompt.row, 2);
  EXPECT_THAT(error(RowFormat::kPrompt, text, {.max_prompt_length = 1, .drop_overlong = true}),
              HasSubstr("all were longer than allowed"));
}

TEST_F(DatasetTest, APromptThatFillsTheModelsContextIsOverlong) {
  const std::string text = "{\"prompt\":\"a\"}\n{\"prompt\":\"abc\"}\n";
  EXPECT_THAT(
      error(RowFormat::kPrompt, text, {.context = 4}),
      HasSubstr("data.jsonl:2: the prompt has 4 tokens, which leaves no room for an answer in the model's "
                "context of 4"));
  EXPECT_TRUE(open(RowFormat::kPrompt, text, {.context = 5}).ok());
  const auto data = open(RowFormat::kPrompt, text, {.context = 4, .drop_overlong = true});
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data->dropped(), 1);
}

// Whoever opens a FIFO waits for its other end, deaf to signals.
TEST_F(DatasetTest, AFileThatIsNoRegularOneIsRefused) {
  const Path fifo = folder_.path() / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const auto data = Dataset::open({.files = {fifo.string()}}, ByteTokenizer(), 258);
  EXPECT_EQ(data.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(data.status().message(), HasSubstr("fifo' is not a regular file"));
}

TEST_F(DatasetTest, BadRowsAreLeftOutAndCountedWhereThatIsAskedFor) {
  const std::string text =
      "{\"prompt\": \"a\"}\n{\"prompt\":\n{\"prompt\": \"aaaaaaaaa\"}\n[1]\n{\"prompt\": \"b\"}\n";
  const DatasetOptions options{.max_prompt_length = 5, .leave_out_bad = true};
  const auto data = open(RowFormat::kPrompt, text, options);
  ASSERT_TRUE(data.ok()) << data.status().message();
  EXPECT_EQ(data->size(), 2);
  EXPECT_EQ(data->row(1).prompt.text, "b");
  EXPECT_EQ(data->row(1).prompt.row, 4);  // its place in the file
  EXPECT_EQ(data->bad_rows().count, 3);
  EXPECT_THAT(data->bad_rows().first, HasSubstr("data.jsonl:2: "));
  EXPECT_THAT(error(RowFormat::kPrompt, "[1]\n[2]\n", options), HasSubstr("no row can be used; the first: "));
}

TEST_F(DatasetTest, PairsAreMeasuredWithTheirLongerAnswer) {
  const DatasetOptions options{.max_prompt_length = 1, .max_length = 6};  // the first is no limit of pairs
  EXPECT_TRUE(open(RowFormat::kPreference, R"({"prompt":"p","chosen":"abc","rejected":"a"})", options).ok());
  EXPECT_THAT(error(RowFormat::kPreference, R"({"prompt":"p","chosen":"a","rejected":"abcd"})", options),
              HasSubstr("have 7 tokens, 'max_length' is 6"));
}

TEST(DataConfigTest, ReadsWhatItWrites) {
  const auto config =
      read_config<DataConfig>(*parse_json(R"({"train_files":["a"],"overlong_rows":"drop","shuffle":false})"));
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(write_config(*read_config<DataConfig>(write_config(*config))), write_config(*config));
  EXPECT_FALSE(read_config<DataConfig>(*parse_json(R"({"overlong_rows":"cut"})")).ok());
  EXPECT_FALSE(read_config<DataConfig>(*parse_json(R"({"prompts_per_step":0})")).ok());
}

}  // namespace
}  // namespace fulcrum
