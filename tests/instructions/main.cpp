// The hot paths on fixed inputs, for tests/instructions/check.py, which counts their instructions: what runs
// inside of counted() is counted, everything before it is set-up. `instructions CASE` runs one case;
// `instructions` prints the compiler and the cases, one a line.
//
// The number must be the same on every machine that can run AVX2. So the kernels are held to AVX2, which is
// what valgrind shows of any newer x86, and for the same reason libc chooses the same memcpy and memset
// there. One thread, no clock, no files, no random libm calls inside; each case runs once before it is
// counted, so that pages, pools and buffers are there.
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/core/rng.h"
#include "engine/data/pack.h"
#include "engine/data/slice.h"
#include "engine/kernels/simd.h"
#include "engine/kernels/softmax/op.h"
#include "policy/decode/decoder.h"

// One call of `body`: the function whose instructions are collected. Its name is not mangled and it stays a
// function.
extern "C" __attribute__((noinline, used)) void counted(const std::function<void()>* body) { (*body)(); }

namespace fulcrum {
namespace {

constexpr int kBadUsage = 2, kMissing = 77;

void run_twice(const std::function<void()>& body) {
  body();
  counted(&body);
}

ModelSpec tiny() {
  ModelSpec s;
  s.vocab_size = 512;
  s.hidden_size = 128;
  s.intermediate_size = 352;
  s.num_hidden_layers = 4;
  s.num_attention_heads = 8;
  s.num_key_value_heads = 4;
  s.head_dim = 16;
  s.max_position_embeddings = 256;
  return s;
}

// Weights that are made at once: no number of instructions depends on their values.
TensorMap weights_of(const ModelSpec& spec) {
  TensorMap out;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    std::vector<float> values(static_cast<size_t>(shape[0] * (shape.size() > 1 ? shape[1] : 1)));
    for (size_t i = 0; i < values.size(); ++i) values[i] = 0.01f * static_cast<float>(i % 13) - 0.05f;
    out.emplace(name, make_tensor(shape, values));
  }
  return out;
}

// Two steps of `batch` sequences of 24 positions (what stands there changes nothing: their pages are 0).
int decode(int64_t batch) {
  constexpr int64_t kBefore = 24, kSteps = 2;
  auto model = DecodeModel::create(tiny(), weights_of(tiny()));
  if (!model.ok()) return kBadUsage;
  Workers one(1);
  Decoder decoder(std::move(model).value(), one);
  std::vector<KvSequence> sequences;
  for (int64_t b = 0; b < batch; ++b) {
    sequences.push_back(decoder.new_sequence());
    for (int64_t p = 0; p < kBefore; ++p) sequences.back().append();
  }
  const auto step = [&](int64_t position) {
    std::vector<DecodeRow> rows;
    for (int64_t b = 0; b < batch; ++b)
      rows.push_back(
          {&sequences[static_cast<size_t>(b)], static_cast<TokenId>((7 * b + 3 * position) % 512), true});
    decoder.run(rows);
  };
  int64_t position = kBefore;
  run_twice([&] {
    for (int64_t s = 0; s < kSteps; ++s) step(position++);
  });
  return 0;
}

// The softmax of a row of 32,000 logits, four times.
int softmax() {
  constexpr int64_t kVocabulary = 32000;
  const Rng rng(1, Purpose::kTest);
  std::vector<float> logits(kVocabulary), weights(kVocabulary);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = 8 * rng.uniform_at(i);
  std::vector<double> sums(kVocabulary / kernels::kSoftmaxBlock);
  run_twice([&] {
    for (int i = 0; i < 4; ++i)
      kernels::softmax_weights(logits.data(), kVocabulary, 0.7f, weights.data(), sums.data());
  });
  return 0;
}

// 32 groups of eight completions into a batch, and that into micro-batches.
int pack() {
  std::vector<RolloutGroup> groups(32);
  std::vector<std::vector<Verdict>> verdicts(groups.size());
  for (size_t g = 0; g < groups.size(); ++g) {
    groups[g].prompt.ids.assign(40 + g, 5);
    for (size_t c = 0; c < 8; ++c) {
      Completion& completion = groups[g].completions.emplace_back();
      completion.ids.assign(60 + (g + 11 * c) % 64, 9);
      completion.logps.assign(completion.ids.size(), -1.0f);
      verdicts[g].push_back(
          {.score = static_cast<double>(c), .kind = VerdictKind::kScored, .reason = {}, .parts = {}});
    }
  }
  size_t rows = 0;
  run_twice([&] {
    const TrainBatch batch = pack_groups(groups, verdicts);
    for (const RowRange range : micro_batches(batch, 4096, false)) rows += slice(batch, range).rows.size();
  });
  return rows == 2 * 32 * 8 ? 0 : kBadUsage;
}

const std::map<std::string, std::function<int()>> kCases = {
    {"decode_b1", [] { return decode(1); }},
    {"decode_b16", [] { return decode(16); }},
    {"pack", pack},
    {"softmax", softmax},
};

int run(int argc, char** argv) {
  const auto chosen = argc == 2 ? kCases.find(argv[1]) : kCases.end();
  if (chosen == kCases.end()) {
    std::printf("g++ %s\n", __VERSION__);
    for (const auto& [name, body] : kCases) std::printf("%s\n", name.c_str());
    return argc == 1 ? 0 : kBadUsage;
  }
  if (!kernels::hold_to_target("AVX2")) {
    std::printf("this machine has no AVX2\n");
    return kMissing;
  }
  return chosen->second();
}

}  // namespace
}  // namespace fulcrum

int main(int argc, char** argv) { return fulcrum::run(argc, argv); }
