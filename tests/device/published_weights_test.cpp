// Versions of the weights that come from a device as what has changed: those of a whole copy, to the bit, and
// found where the host's are not the device's.
#include "engine/learner/published_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include "bench/gpu/kernel_call.h"
#include "engine/kernels/device/fallbacks.h"
#include "engine/publish/delta.h"
#include "engine/reference/parameters.h"
#include "policy/nn/torch_errors.h"
#include "tests/device/emulated_kernels.h"
#include "tests/support/far_device.h"
#include "tests/unit/engine/learner/learner_rig.h"

namespace fulcrum {
namespace {

using namespace fulcrum::testing;
using ::testing::HasSubstr;

constexpr int64_t kWeights = 97 * 130 + 7 + 15 + 9000, kPieces = 2 + 1 + 1 + 2;
constexpr int64_t kCountBytes = 8 * (kPieces + 1), kHashBytes = 8 * 64;  // 64 pieces of 16 KiB: the buffer

// Leaves of a model, in the order of their names.
struct Leaves {
  explicit Leaves(at::Device device) {
    uint64_t seed = 0;
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{97, 130}, {7}, {3, 5}, {9000}}) {
      const at::Tensor values = gpu_check::numbers(c10::multiply_integers(shape), ++seed, 0.02).view(shape);
      all.emplace_back("leaf" + std::to_string(seed), values.to(device).set_requires_grad(true));
    }
  }
  // One weight in `every` of each leaf becomes another number.
  void change(int64_t every) {
    const at::NoGradGuard no_gradients;
    for (auto& [name, leaf] : all) {
      at::Tensor values = leaf.detach().to(at::kCPU, at::kFloat, false, /*copy=*/true);
      for (int64_t i = every / 2; i < values.numel(); i += every) values.data_ptr<float>()[i] *= -1.25F;
      leaf.copy_(values);
    }
  }
  FlatWeights whole() const { return flatten_to_bf16(copy_tensors(all)).value(); }

  NamedTensors all;
};

// The next version, which must be the whole copy's, from as many bytes as it says. A new image on the device
// is filled with 0 first, for which the far device takes it to the host once.
std::shared_ptr<const FlatWeights> next_of(PublishedWeights& published, const Leaves& leaves,
                                           bool new_image = false) {
  const int64_t before = far_bytes_read();
  auto got = published.next(leaves.all);
  EXPECT_TRUE(got.ok()) << got.status().message();
  if (!got.ok()) return nullptr;
  EXPECT_EQ((*got)->read_bytes + (new_image ? kFlatMultiple : 0), far_bytes_read() - before);
  const FlatWeights want = leaves.whole();
  EXPECT_TRUE(*(*got)->values == *want.values);
  EXPECT_EQ((*got)->hash, want.hash);
  EXPECT_EQ(content_hash((*got)->tensors), content_hash(want.tensors));
  return *got;
}

int64_t changed(const FlatWeights& from, const FlatWeights& to) {
  int64_t out = 0;
  for (size_t i = 0; i < to.values->size(); ++i) out += (*from.values)[i] != (*to.values)[i] ? 1 : 0;
  return out;
}

TEST(PublishedWeights, AreThoseOfAWholeCopyFromTheBytesOfWhatHasChanged) {
  const EmulatedKernels kernels;
  Leaves leaves(far_device());
  PublishedWeights published;
  auto before = next_of(published, leaves, true);
  EXPECT_FALSE(before->change.has_value()) << "the first comes whole";
  EXPECT_EQ(before->read_bytes, kCountBytes + kHashBytes + kFlatMultiple);
  for (const int64_t every : {0, 1000, 100, 9, 0, 50}) {
    if (every > 0) leaves.change(every);
    const auto now = next_of(published, leaves);
    ASSERT_NE(now, nullptr);
    const int64_t count = changed(*before, *now);
    EXPECT_EQ(now->read_bytes, kCountBytes + kHashBytes + 4 * count) << "one in " << every;
    ASSERT_TRUE(now->change.has_value());
    EXPECT_EQ(now->change->base_hash, before->hash);
    EXPECT_TRUE(*now->change->delta == *encode_delta(*before->values, *now->values)) << "one in " << every;
    before = now;
  }
}

TEST(PublishedWeights, OfWhichManyHaveChangedComeWhole) {
  const EmulatedKernels kernels;
  Leaves leaves(far_device());
  PublishedWeights published;
  ASSERT_NE(next_of(published, leaves, true), nullptr);
  for (const int64_t every : {1, 2, 7}) {
    leaves.change(every);
    const auto dense = next_of(published, leaves);
    EXPECT_FALSE(dense->change.has_value());
    EXPECT_EQ(dense->read_bytes, kCountBytes + kHashBytes + kFlatMultiple);
  }
  leaves.change(100);
  EXPECT_TRUE(next_of(published, leaves)->change.has_value()) << "and the next are changes again";
}

TEST(PublishedWeights, ComeInFullPrecisionWhereThereAreNoKernels) {
  Leaves leaves(far_device());
  PublishedWeights published;
  const kernels::FallbackCounts before = kernels::fallback_counts();
  for (int step = 0; step < 2; ++step) {
    EXPECT_EQ(next_of(published, leaves)->read_bytes, 4 * kWeights);
    leaves.change(100);
  }
  const auto which = static_cast<size_t>(kernels::Fallback::kWeightChanges);
  EXPECT_EQ(kernels::fallback_counts()[which], before[which] + 2);
  Leaves here(at::kCPU);
  EXPECT_EQ(next_of(published, here)->read_bytes, 0);
  EXPECT_EQ(kernels::fallback_counts()[which], before[which] + 2) << "the CPU misses nothing";
}

// Kernels that come and go leave no old image behind to take changes against.
TEST(PublishedWeights, AreRightWhateverMadeTheOnesBefore) {
  Leaves leaves(far_device());
  PublishedWeights published;
  bool before = false;
  for (const bool with_kernels : {true, true, false, true, true}) {
    std::optional<EmulatedKernels> kernels;
    if (with_kernels) kernels.emplace();
    leaves.change(100);
    ASSERT_NE(next_of(published, leaves, with_kernels && !before), nullptr);
    before = with_kernels;
  }
}

TEST(PublishedWeights, WhoseHostCopyHasGoneWrongAreRefusedByNameAndThenReadWhole) {
  const EmulatedKernels kernels;
  Leaves leaves(far_device());
  PublishedWeights published;
  const auto first = next_of(published, leaves, true);
  leaves.change(100);
  // One bit of the second piece of the last tensor, in the host's copy of the first version.
  const auto* const bits = reinterpret_cast<const uint16_t*>(first->tensors.at("leaf4").bytes.data());
  const_cast<uint16_t*>(bits)[8990] ^= 1;
  const Status refused = published.next(leaves.all).status();
  EXPECT_EQ(refused.code(), Code::kDataLoss);
  EXPECT_THAT(refused.message(), HasSubstr("1 of 64 pieces of 16 KiB differ"));
  EXPECT_THAT(refused.message(), HasSubstr("tensor 'leaf4'"));
  const auto again = next_of(published, leaves, true);
  ASSERT_NE(again, nullptr);
  EXPECT_FALSE(again->change.has_value());
  leaves.change(100);
  EXPECT_TRUE(next_of(published, leaves)->change.has_value());
}

const kernels::DeviceKernels* real = nullptr;

// The kernels with one that is wrong in this process as long as one lives.
class Wrong {
 public:
  explicit Wrong(const std::function<void(kernels::DeviceKernels&)>& how) {
    real = kernels::device_kernels();
    table_ = *real;
    how(table_);
    kernels::use_device_kernels(&table_);
  }
  ~Wrong() { kernels::use_device_kernels(real); }

 private:
  kernels::DeviceKernels table_;
};
int forgetful(const kernels::TrainedList& list, const kernels::ChangedWeights& out,
              kernels::DeviceStream stream) {
  const int error = real->weight_changes(list, out, stream);
  const FarAccess access;
  for (int64_t piece = list.pieces; piece > 0; --piece) {
    if (out.begins[piece] == out.begins[list.pieces]) --out.begins[piece];
  }
  return error;
}
int miscounting(const kernels::TrainedList& list, const kernels::ChangedWeights& out,
                kernels::DeviceStream stream) {
  const int error = real->weight_changes(list, out, stream);
  const FarAccess access;
  out.begins[1] = int64_t{1} << 40;
  return error;
}
int refusing(const uint16_t*, int64_t, uint64_t*, kernels::DeviceStream) { return 717; }

TEST(PublishedWeights, AreNeverAWrongKernels) {
  const EmulatedKernels kernels;
  Leaves leaves(far_device());
  PublishedWeights published;
  const auto fails_with = [&](const std::function<void(kernels::DeviceKernels&)>& how) {
    EXPECT_NE(next_of(published, leaves, true), nullptr);
    leaves.change(100);
    const Wrong wrong(how);
    const Status status =
        catch_torch("here", [&]() -> Status { return published.next(leaves.all).status(); });
    return status.message();
  };
  EXPECT_THAT(fails_with([](auto& table) { table.weight_changes = forgetful; }),
              HasSubstr("are not those of the device"));
  EXPECT_THAT(fails_with([](auto& table) { table.weight_changes = miscounting; }), HasSubstr("miscounts"));
  EXPECT_THAT(fails_with([](auto& table) { table.piece_hashes = refusing; }),
              HasSubstr("a kernel of the device failed"));
  EXPECT_NE(next_of(published, leaves, true), nullptr) << "and the next is right again";
}

LearnerOptions far_options() {
  LearnerOptions out = fast_options();
  out.config.device = far_device().str();
  out.config.learning_rate = 1e-4;
  return out;
}

void expect_current(Learner& learner) {
  const auto got = learner.rounded_weights();
  ASSERT_TRUE(got.ok()) << got.status().message();
  const FlatWeights want = flatten_to_bf16(learner.weights()).value();
  EXPECT_TRUE(*(*got)->values == *want.values);
  EXPECT_EQ((*got)->hash, want.hash);
}

// Steps, one that is cancelled after an update, one that is skipped, and a state that is brought back.
TEST(PublishedWeights, AreTheLearnersHoweverItCameToThem) {
  const EmulatedKernels kernels;
  LearnerOptions options = far_options();
  options.num_iterations = 2;
  Rig rig(options);
  expect_current(*rig.learner);
  rig.step(1);
  expect_current(*rig.learner);
  const LearnerState saved = rig.learner->save();
  rig.step(2);
  expect_current(*rig.learner);
  std::stop_source stop;
  const int calls = rig.fake->loss_calls;
  rig.fake->on_loss = [&](int call) {
    if (call > calls) stop.request_stop();
  };
  EXPECT_EQ(rig.learner->step(batch_of(3), stop.get_token()).status().code(), Code::kCancelled);
  rig.fake->on_loss = [](int) {};
  expect_current(*rig.learner);
  rig.fake->factor = std::numeric_limits<float>::infinity();
  EXPECT_EQ(rig.step(4).at("guards/skipped_steps").mean(), 2) << "both updates";
  rig.fake->factor = 1;
  expect_current(*rig.learner);
  ASSERT_TRUE(rig.learner->load(saved).ok());
  expect_current(*rig.learner);
  rig.step(5);
  expect_current(*rig.learner);
}

TEST(PublishedWeights, AreCountedWhereTheyCameWithoutAKernel) {
  Rig rig(far_options());
  EXPECT_FALSE(rig.step(1).contains("perf/fallback/weight_changes"));
  expect_current(*rig.learner);
  EXPECT_EQ(rig.step(2).at("perf/fallback/weight_changes").mean(), 1) << "the publication before the step";
  EXPECT_FALSE(rig.step(3).contains("perf/fallback/weight_changes"));
}

}  // namespace
}  // namespace fulcrum
