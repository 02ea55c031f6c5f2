#include "rollout/generator.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "engine/core/files.h"
#include "engine/core/text.h"
#include "tests/support/test_data.h"
#include "tests/unit/rollout/rollout_testing.h"

namespace fulcrum {
namespace {

using testing::kEos;
using testing::kVocabulary;
using testing::PairTokenizer;
using testing::request;
using testing::same_bits;
using testing::small_model;

const PolicyVersion kVersion{1, 4};

std::vector<RolloutRequest> mixed_requests() {
  std::vector<RolloutRequest> out{request(0, 5, 4), request(1, 16, 1), request(2, 1, 7), request(3, 90, 3),
                                  request(4, 33, 2)};
  out[1].sampling.temperature = 0;
  out[2].sampling.top_p = 0.8;
  out[3].sampling.stop = {"cd"};
  out[4].sampling.max_completion_length = 1;
  return out;
}

std::vector<RolloutGroup> generate(std::span<const RolloutRequest> requests,
                                   const GeneratorOptions& options = {}, const GenerateCalls& calls = {}) {
  Generator generator(small_model(), std::make_shared<PairTokenizer>(), options);
  auto groups = generator.generate(requests, kVersion, {}, calls);
  EXPECT_TRUE(groups.ok()) << groups.status().message();
  return groups.ok() ? *groups : std::vector<RolloutGroup>{};
}

// One completion that no rule but its length ends.
Completion free_running(const RolloutRequest& r) {
  RolloutRequest unending = r;
  unending.sampling.stop.clear();
  return generate({&unending, 1}).at(0).completions.at(0);
}

TEST(Generator, GivesEveryGroupItsVersionPromptAndCompletionsInOrder) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  const std::vector<RolloutGroup> groups = generate(requests);
  ASSERT_EQ(groups.size(), requests.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    EXPECT_EQ(groups[i].index, requests[i].index);
    EXPECT_EQ(groups[i].version, kVersion);
    EXPECT_EQ(groups[i].prompt.ids, requests[i].prompt.ids);
    ASSERT_EQ(groups[i].completions.size(), static_cast<size_t>(requests[i].num_generations));
    for (const Completion& c : groups[i].completions) {
      EXPECT_FALSE(c.ids.empty());
      EXPECT_LE(c.ids.size(), static_cast<size_t>(requests[i].sampling.max_completion_length));
      EXPECT_EQ(c.logps.size(), c.ids.size());
      EXPECT_EQ(c.text, to_valid_utf8(PairTokenizer().decode(c.ids)));
    }
  }
}

TEST(Generator, GivesTheSameBitsWithAnyBatchSizeAndThreads) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  const std::vector<RolloutGroup> expected = generate(requests, {1, 1});
  for (const int64_t threads : {1, 2, 3}) {
    for (const int64_t max_batch : {1, 2, 3, 4, 7, 16, 33}) {
      EXPECT_TRUE(same_bits(generate(requests, {max_batch, threads}), expected))
          << "max_batch " << max_batch << ", " << threads << " threads";
    }
  }
}

TEST(Generator, GivesARequestTheSameBitsAloneAndAmongOthers) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  const std::vector<RolloutGroup> together = generate(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(same_bits(generate({&requests[i], 1}), {together[i]})) << i;
  }
  RolloutRequest fewer = requests[2];
  fewer.num_generations = 3;
  const std::vector<RolloutGroup> part = generate({&fewer, 1});
  for (size_t g = 0; g < 3; ++g) EXPECT_EQ(part[0].completions[g].ids, together[2].completions[g].ids);
}

TEST(Generator, DrawsTokenTWithNumberTOfItsOwnStream) {
  RolloutRequest r = request(6, 9, 3);
  r.sampling.temperature = 0.9;
  for (const bool evaluation : {false, true}) {
    r.evaluation = evaluation;
    const RolloutGroup group = generate({&r, 1}).at(0);
    Workers one(1);
    Decoder decoder(small_model(), one);
    Sampler sampler;
    for (size_t g = 0; g < group.completions.size(); ++g) {
      const Completion& c = group.completions[g];
      const Rng noise(77, evaluation ? Purpose::kEvaluation : Purpose::kSampling, {3, 6, g});
      KvSequence sequence = decoder.new_sequence();
      std::vector<TokenId> ids = r.prompt.ids;
      for (size_t t = 0; t < c.ids.size(); ++t) {
        std::vector<DecodeRow> rows;
        for (const TokenId id : ids) rows.push_back({&sequence, id, true});
        decoder.run(rows);
        const Draw draw = *sampler.draw(decoder.logits(rows.size() - 1), r.sampling, noise.uniform53_at(t));
        ASSERT_EQ(draw.id, c.ids[t]);
        ASSERT_EQ(draw.logp, c.logps[t]);
        ids = {draw.id};
      }
    }
  }
}

TEST(Generator, EndsAtTheTokenizersEosAndKeepsIt) {
  RolloutRequest r = request(8, 4, 16);
  r.sampling.max_completion_length = 150;
  int ended = 0;
  const RolloutGroup group = generate({&r, 1}).at(0);
  for (const Completion& c : group.completions) {
    const auto eos = std::find(c.ids.begin(), c.ids.end(), kEos);
    if (c.finish == FinishReason::kStop) {
      EXPECT_EQ(eos + 1, c.ids.end()) << "the one EOS is the last token";
      ++ended;
    } else {
      EXPECT_EQ(eos, c.ids.end());
      EXPECT_EQ(c.ids.size(), 150u);
    }
  }
  EXPECT_GT(ended, 0);
}

TEST(Generator, EndsAtTheModelsAndTheRequestsEndTokens) {
  RolloutRequest r = request(9, 4, 1);
  const Completion free = free_running(r);
  const TokenId end = free.ids.at(free.ids.size() / 2);
  const auto first = std::find(free.ids.begin(), free.ids.end(), end) + 1;
  const std::vector<TokenId> expected(free.ids.begin(), first);

  RolloutRequest own = r;
  own.sampling.stop_ids = {end};
  EXPECT_EQ(generate({&own, 1}).at(0).completions.at(0).ids, expected);

  ModelSpec spec = testing::small_spec();
  spec.eos_token_ids = {end};
  Generator generator(small_model(1, spec), std::make_shared<PairTokenizer>(), {});
  const auto groups = generator.generate({&r, 1}, kVersion, {});
  ASSERT_TRUE(groups.ok());
  EXPECT_EQ(groups->at(0).completions.at(0).ids, expected);
  EXPECT_EQ(groups->at(0).completions.at(0).finish, FinishReason::kStop);
}

TEST(Generator, EndsAtAStopTextAlsoAcrossTokens) {
  RolloutRequest r = request(10, 4, 1);
  r.sampling.max_completion_length = 60;
  const Completion free = free_running(r);
  ASSERT_GE(free.ids.size(), 8u);
  const std::string text = PairTokenizer().decode(free.ids);
  // Inside one token, across two, across four.
  for (const auto& [begin, length] : {std::pair<size_t, size_t>{6, 1}, {7, 2}, {5, 6}}) {
    RolloutRequest with_stop = r;
    with_stop.sampling.stop = {"never appears", text.substr(begin, length)};
    size_t expected = 1;
    while (PairTokenizer().decode(std::span(free.ids).first(expected)).find(with_stop.sampling.stop[1]) ==
           std::string::npos) {
      ++expected;
    }
    const Completion c = generate({&with_stop, 1}).at(0).completions.at(0);
    EXPECT_EQ(c.ids, std::vector<TokenId>(free.ids.begin(),
                                          free.ids.begin() + static_cast<std::ptrdiff_t>(expected)));
    EXPECT_EQ(c.finish, FinishReason::kStop);
    EXPECT_NE(c.text.find(with_stop.sampling.stop[1]), std::string::npos)
        << "the stop text stays in the completion";
  }
}

TEST(Generator, EndsWhereTheContextOfTheModelEnds) {
  RolloutRequest r = request(11, 190, 4);
  r.sampling.max_completion_length = 1000;
  const RolloutGroup group = generate({&r, 1}).at(0);
  for (const Completion& c : group.completions) {
    EXPECT_TRUE(c.finish == FinishReason::kStop || c.ids.size() == 10u);
    EXPECT_LE(c.ids.size(), 10u);
  }
}

TEST(Generator, StreamsTokensAndGroupsAsTheyHappen) {
  const std::vector<RolloutRequest> requests = mixed_requests();
  std::map<std::pair<size_t, int64_t>, Completion> streamed;
  std::map<size_t, RolloutGroup> finished;
  GenerateCalls calls;
  calls.on_token = [&](const TokenEvent& e) {
    Completion& c = streamed[{e.request, e.generation}];
    c.ids.push_back(e.id);
    c.logps.push_back(e.logp);
    c.text += e.text;
  };
  calls.on_group = [&](size_t i, const RolloutGroup& g) {
    EXPECT_TRUE(finished.emplace(i, g).second) << "once";
  };
  const std::vector<RolloutGroup> groups = generate(requests, {3, 1}, calls);
  ASSERT_EQ(finished.size(), groups.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    EXPECT_TRUE(same_bits({finished.at(i)}, {groups[i]}));
    for (size_t g = 0; g < groups[i].completions.size(); ++g) {
      const Completion& c = groups[i].completions[g];
      const Completion& s = streamed.at({i, static_cast<int64_t>(g)});
      EXPECT_EQ(s.ids, c.ids);
      EXPECT_EQ(s.logps, c.logps);
      EXPECT_EQ(to_valid_utf8(s.text), c.text);
    }
  }
  EXPECT_TRUE(same_bits(groups, generate(requests))) << "who listens changes nothing";
}

TEST(Generator, StopsInTheMiddleOfAGeneration) {
  for (const int64_t threads : {1, 2}) {
    std::stop_source source;
    int tokens = 0;
    GenerateCalls calls;
    calls.on_token = [&](const TokenEvent&) {
      if (++tokens == 25) source.request_stop();
    };
    Generator generator(small_model(), std::make_shared<PairTokenizer>(), {4, threads});
    RolloutRequest r = request(12, 6, 40);
    r.sampling.max_completion_length = 150;
    const auto groups = generator.generate({&r, 1}, kVersion, source.get_token(), calls);
    EXPECT_EQ(groups.status().code(), Code::kCancelled);
    EXPECT_LT(tokens, 25 + 8) << "nothing is drawn after the batch at hand";

    const auto again = generator.generate({&r, 1}, kVersion, {});
    ASSERT_TRUE(again.ok());
    EXPECT_TRUE(same_bits(*again, generate({&r, 1}))) << "a cancelled call leaves nothing behind";
  }
}

TEST(Generator, NamesTheRowOfAPromptThatDoesNotFit) {
  std::vector<RolloutRequest> requests{request(0, 3, 1), request(1, 3, 1)};
  const auto refused = [&](const std::string& part) {
    Generator generator(small_model(), std::make_shared<PairTokenizer>(), {});
    const Status status = generator.generate(requests, kVersion, {}).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find("row 101"), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    requests[1] = request(1, 3, 1);
  };
  requests[1].prompt.ids.assign(200, 1);
  refused("context of 200");
  requests[1].prompt.ids[1] = kVocabulary;
  refused("token id 40 is outside the model's vocabulary of 40");
  requests[1].prompt.ids[1] = -1;
  refused("token id -1");
  requests[1].prompt.ids.clear();
  refused("no tokens");
  requests[1].num_generations = 0;
  refused("num_generations");
  requests[1].sampling.top_p = 0;
  refused("top_p");
}

TEST(Generator, NamesNoRowOfAPromptThatStandsInNoDataFile) {
  RolloutRequest r = request(0, 3, 1);
  r.prompt.row = -1;
  r.prompt.ids.assign(200, 1);
  Generator generator(small_model(), std::make_shared<PairTokenizer>(), {});
  EXPECT_EQ(generator.generate({&r, 1}, kVersion, {}).status().message(),
            "the prompt's 200 tokens leave no room in the model's context of 200; shorten it");
}

TEST(Generator, SaysWhenTheWeightsHaveDiverged) {
  const ModelSpec spec = testing::small_spec();
  TensorMap weights = testing::small_weights(spec, 1);
  weights["model.norm.weight"] =
      make_tensor({spec.hidden_size}, std::vector<float>(32, std::numeric_limits<float>::quiet_NaN()));
  Generator generator(DecodeModel::create(spec, weights).value(), std::make_shared<PairTokenizer>(), {});
  const RolloutRequest r = request(5, 3, 2);
  const Status status = generator.generate({&r, 1}, kVersion, {}).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("row 105"), std::string::npos) << status.message();
}

TEST(GeneratorGolden, Stories260KWritesItsDocumentedStory) {
  FULCRUM_NEEDS_DATA("tinyllama-260k/golden_greedy.json");
  const Path folder = testing::test_data() / "tinyllama-260k";
  auto loaded = load_model(folder / "stories260K.bin");
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  auto tokenizer = load_tokenizer(folder / "tok512.model");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  auto file = read_file(folder / "golden_greedy.json");
  ASSERT_TRUE(file.ok());
  const auto golden = parse_json(*file);
  ASSERT_TRUE(golden.ok());
  auto model = DecodeModel::create(loaded->spec, loaded->tensors);
  ASSERT_TRUE(model.ok());
  Generator generator(*model, *tokenizer, {});
  RolloutRequest r;
  r.prompt.ids = {(*tokenizer)->bos().value()};
  r.sampling.temperature = 0;
  r.sampling.max_completion_length = 256;
  const auto groups = generator.generate({&r, 1}, kVersion, {});
  ASSERT_TRUE(groups.ok()) << groups.status().message();
  EXPECT_EQ(groups->at(0).completions.at(0).text, golden->at("text").get<std::string>());
}

}  // namespace
}  // namespace fulcrum
