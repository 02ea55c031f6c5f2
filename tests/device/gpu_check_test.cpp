// What fulcrum-gpu-check does on a GPU, done here on the far device with the kernels' own source: every check
// passes, and fails where a kernel or a number is wrong.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "bench/gpu/checks.h"
#include "bench/gpu/kernel_call.h"
#include "engine/kernels/device/table.h"
#include "tests/device/emulated_kernels.h"
#include "tests/support/far_device.h"
#include "tests/support/far_group.h"

namespace fulcrum {
namespace {

using namespace fulcrum::gpu_check;
using testing::EmulatedKernels;
using testing::far_device;

std::vector<Line> lines_of(const CheckGroup& group, at::Device device,
                           const kernels::DecodeKernels& decode = testing::opened_decode_kernels()) {
  std::vector<Line> out;
  Checks checks([&](const Line& line) { out.push_back(line); });
  CheckOptions options{.device = device, .small = true};
  if (!device.is_cpu()) {
    options.generation.kernels = &decode;
    options.members = {device, device};
  }
  group.run(options, checks);
  EXPECT_EQ(checks.lines(), static_cast<int64_t>(out.size()));
  return out;
}

std::vector<std::string> group_names() {
  std::vector<std::string> out;
  for (const CheckGroup& group : check_groups()) out.emplace_back(group.name);
  return out;
}

CheckGroup group_named(const std::string& name) {
  for (const CheckGroup& group : check_groups())
    if (group.name == name) return group;
  ADD_FAILURE() << name;
  return {};
}

std::set<std::string> failed(const std::vector<Line>& lines) {
  std::set<std::string> out;
  for (const Line& line : lines)
    if (line.state == State::kFailed) out.insert(line.name);
  return out;
}

// As long as one lives the process's kernels are those of another table.
class Replaced {
 public:
  explicit Replaced(const kernels::DeviceKernels& table) : table_(table), before_(kernels::device_kernels()) {
    kernels::use_device_kernels(&table_);
  }
  ~Replaced() { kernels::use_device_kernels(before_); }

 private:
  kernels::DeviceKernels table_;
  const kernels::DeviceKernels* before_;
};

class EveryGroup : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryGroup, FindsNothingWrongWithTheKernelsOwnSource) {
  const EmulatedKernels all;
  const testing::FarGroup group;
  const std::vector<Line> lines = lines_of(group_named(GetParam()), far_device());
  EXPECT_FALSE(lines.empty());
  for (const Line& line : lines) {
    EXPECT_EQ(line.state, State::kOk)
        << line.name << ": " << line.error << " > " << line.tolerance << ", " << line.note;
  }
}

TEST_P(EveryGroup, HasNothingWrongOnTheCpuAndSaysWhatThereIsNot) {
  for (const Line& line : lines_of(group_named(GetParam()), at::kCPU)) {
    EXPECT_NE(line.state, State::kFailed) << line.name << ": " << line.error << ", " << line.note;
    EXPECT_NE(line.note, "") << line.name;
  }
}

INSTANTIATE_TEST_SUITE_P(List, EveryGroup, ::testing::ValuesIn(group_names()),
                         [](const auto& test) { return test.param; });

// The process's kernels before a test puts others in their place.
const kernels::DeviceKernels* real = nullptr;

int refused_swiglu(const float*, int64_t, int64_t, kernels::ActivationType, void*, kernels::DeviceStream) {
  return 717;
}
// A number that is a little wrong.
int wrong_rope(const kernels::RopeRows& in, kernels::DeviceStream stream) {
  const int error = real->rope(in, stream);
  const testing::FarAccess access;
  in.x[in.rows * in.stride - in.stride] += 1e-4F;
  return error;
}
int wrong_gradients(const kernels::DivergenceRows& in, const float* d_logps, const float* d_divergences,
                    const int64_t* ids, kernels::DeviceStream stream) {
  const int error = real->divergence_gradients(in, d_logps, d_divergences, ids, stream);
  const testing::FarAccess access;
  in.policy[in.rows * in.n - 1] += 1e-3F;
  return error;
}
// One number too many.
int long_adamw(const kernels::TrainedList& list, const kernels::AdamwStep& step, const kernels::Clip& clip,
               kernels::DeviceStream stream) {
  const int error = real->adamw(list, step, clip, stream);
  const testing::FarAccess access;
  const kernels::TrainedTensor& last = list.tensors[list.count - 1];
  last.second[last.n] = 0;
  return error;
}
// A tensor too few.
int short_norm(const kernels::TrainedList& list, double* sums, double* norm, kernels::DeviceStream stream) {
  return real->norm({list.tensors, list.count, list.pieces - 1}, sums, norm, stream);
}
// A change that stands elsewhere.
int misplaced_change(const kernels::TrainedList& list, const kernels::ChangedWeights& out,
                     kernels::DeviceStream stream) {
  const int error = real->weight_changes(list, out, stream);
  const testing::FarAccess access;
  if (const int64_t count = out.begins[list.pieces]; count > 0) out.changes[count - 1] ^= 1;
  return error;
}
// A hash of something else.
int wrong_hashes(const uint16_t* values, int64_t pieces, uint64_t* hashes, kernels::DeviceStream stream) {
  const int error = real->piece_hashes(values, pieces, hashes, stream);
  const testing::FarAccess access;
  if (pieces > 0) hashes[pieces - 1] ^= 1;
  return error;
}
// Another sum each time.
int restless_losses(const kernels::LossRows& in, float* logps, double* lse, float* entropies,
                    kernels::DeviceStream stream) {
  static float more = 0;
  const int error = real->token_losses(in, logps, lse, entropies, stream);
  const testing::FarAccess access;
  logps[0] += more += 1e-7F;
  return error;
}

TEST(GpuCheck, NamesTheKernelsThatAreWrong) {
  const EmulatedKernels all;
  real = kernels::device_kernels();
  kernels::DeviceKernels table = *real;
  table.swiglu = refused_swiglu;
  table.rope = wrong_rope;
  table.divergence_gradients = wrong_gradients;
  table.adamw = long_adamw;
  table.norm = short_norm;
  table.weight_changes = misplaced_change;
  table.piece_hashes = wrong_hashes;
  table.token_losses = restless_losses;
  const Replaced replaced(table);
  const auto failures = [](const std::string& group) {
    return failed(lines_of(group_named(group), far_device()));
  };
  EXPECT_EQ(failures("layer_kernels"), (std::set<std::string>{"swiglu", "rope"}));
  EXPECT_EQ(failures("optimizer_kernels"),
            (std::set<std::string>{"adamw", "adamw without a finite norm", "norm"}));
  EXPECT_EQ(failures("weight_changes"), std::set<std::string>{"weight_changes"});
  EXPECT_EQ(failures("piece_hashes"), std::set<std::string>{"piece_hashes"});
  EXPECT_TRUE(failures("token_losses").contains("token_losses: log-probs and log sums"));
  for (const Line& line : lines_of(group_named("divergences"), far_device())) {
    EXPECT_EQ(line.state == State::kFailed, line.name.starts_with("its gradient")) << line.name;
  }
  // And what is made of them.
  EXPECT_FALSE(failures("policies").empty());
}

int wrong_embedding(const kernels::EmbedRows& in, kernels::DeviceStream stream) {
  const int error = testing::opened_decode_kernels().embed(in, stream);
  const testing::FarAccess access;
  in.hidden[0] += 0.1F;
  return error;
}
// An input that is left out.
int short_product(kernels::DeviceProducts products, const kernels::Product& in,
                  kernels::DeviceStream stream) {
  const int error = testing::opened_decode_kernels().product(products, in, stream);
  const testing::FarAccess access;
  const float size = std::abs(in.y[in.rows * in.outputs - 1]);
  in.y[in.rows * in.outputs - 1] += (1 + size) / static_cast<float>(in.inputs);
  return error;
}
int wrong_norm(const kernels::NormRows& in, kernels::ActivationType type, void* y,
               kernels::DeviceStream stream) {
  kernels::NormRows other = in;
  other.epsilon *= 1.1F;
  return testing::opened_decode_kernels().rmsnorm(other, type, y, stream);
}
// Of the neighbour's layer.
int misplaced_keys(const kernels::RopeAndStore& in, kernels::DeviceStream stream) {
  kernels::RopeAndStore other = in;
  ++other.layer;
  return testing::opened_decode_kernels().rope_and_store(other, stream);
}
int unscaled_attention(const kernels::AttendRows& in, kernels::DeviceStream stream) {
  kernels::AttendRows other = in;
  other.scale *= 1.001F;
  return testing::opened_decode_kernels().attend(other, stream);
}
// The last logit is not looked at, and the last row's token is not counted.
int short_draw(const kernels::DrawRows& in, kernels::DeviceStream stream) {
  kernels::DrawRows other = in;
  if (in.count > 5) --other.count;
  const int error = testing::opened_decode_kernels().draw(other, stream);
  const testing::FarAccess access;
  if (in.count == 5) ++in.slots[4].remaining;
  return error;
}
// The last number is left out.
kernels::GroupState short_sum(kernels::GroupMember* member, void* numbers, int64_t count,
                              kernels::GroupNumber type, void* stream, kernels::GroupText* why) {
  return testing::far_group_table().sum(member, numbers, count - 1, type, stream, why);
}

TEST(GpuCheck, NamesTheKernelsOfADecodeStepThatAreWrong) {
  const EmulatedKernels all;
  kernels::DecodeKernels decode = testing::opened_decode_kernels();
  decode.product = short_product;
  decode.embed = wrong_embedding;
  decode.rmsnorm = wrong_norm;
  decode.rope_and_store = misplaced_keys;
  decode.attend = unscaled_attention;
  decode.draw = short_draw;
  const auto failures = [&](const std::string& group) {
    return failed(lines_of(group_named(group), far_device(), decode));
  };
  EXPECT_EQ(
      failures("decode_kernels"),
      (std::set<std::string>{"product in fp32", "product in bf16", "product in the library's order in fp32",
                             "product in the library's order in bf16", "embed",
                             "rmsnorm and swiglu of a decode step: other bits than in training",
                             "recorded work: not of what lies there when it is launched"}));
  EXPECT_EQ(failures("paged_attention"),
            (std::set<std::string>{"rope_and_store", "attend, cache in fp32", "attend, cache in bf16"}));
  EXPECT_EQ(failures("draws"),
            (std::set<std::string>{"draw: the sampler's tokens, and their log-probs",
                                   "draw: what is written down otherwise than it should be"}));
}

TEST(GpuCheck, SeesASumThatIsNotThatOfAllNumbers) {
  const testing::FarGroup group;
  kernels::DeviceGroup table = testing::far_group_table();
  table.sum = short_sum;
  kernels::use_device_group(&table);
  EXPECT_EQ(failed(lines_of(group_named("device_sums"), far_device())),
            std::set<std::string>{"sums over two GPUs that are not the host's"});
}

TEST(GpuCheck, SeesCompletionsWhoseLogProbsAreNotTheModels) {
  kernels::DecodeKernels decode = testing::opened_decode_kernels();
  decode.embed = wrong_embedding;
  const auto wrong = failed(lines_of(group_named("generation"), far_device(), decode));
  EXPECT_TRUE(wrong.contains("generation, llama in fp32: log-probs"));
}

TEST(GpuCheck, ACheckThatComparesNothingFails) {
  std::vector<Line> lines;
  Checks checks([&](const Line& line) { lines.push_back(line); });
  checks.check("nothing", 1, [](Worst&) {});
  checks.check("no number", 1, [](Worst& worst) { worst.add(std::nan(""), "here"); });
  checks.check("at its tolerance", 1, [](Worst& worst) { worst.add(1, "here"); });
  EXPECT_EQ(failed(lines), (std::set<std::string>{"nothing", "no number"}));
  EXPECT_EQ(checks.failed(), 2);
}

}  // namespace
}  // namespace fulcrum
