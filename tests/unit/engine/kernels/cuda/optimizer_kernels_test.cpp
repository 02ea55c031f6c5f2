// AdamW and the norm over lists of tensors against the CPU's references, and the table of all kernels.
#include <deque>
#include <limits>

#include "engine/kernels/adamw/op.h"
#include "engine/kernels/sum_of_squares/op.h"
#include "tests/unit/engine/kernels/cuda/cuda_testing.h"

namespace fulcrum::kernels {
namespace {

using Floats = std::vector<float>;
constexpr AdamwStep kStep{0.9f, 0.99f, 1e-8f, 1.3e-3f, 0.9995f, 0.4f, 0};
// Empty ones, ones within a quad, ones of several pieces.
const std::vector<int64_t> kSizes = {0, 1, 3, 4, 5, 0, 1027, kTrainedPiece, 2 * kTrainedPiece + 5, 255, 0};

// Tensors of these sizes between guards, every other one with the weight decay, the fourth without a
// gradient, of three one with a copy in bf16 and one with a rounded copy in fp32.
class Tensors {
 public:
  explicit Tensors(const std::vector<int64_t>& sizes, int offset = 0) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      const int64_t n = sizes[i];
      auto& [gradient, weights, first, second, bf16, fp32] = arrays_.emplace_back(n, 10 * i, offset);
      list_.push_back({.gradient = i == 3 ? nullptr : gradient.data(),
                       .weights = weights.data(),
                       .first = first.data(),
                       .second = second.data(),
                       .n = n,
                       .first_piece = pieces_,
                       .rounded_as = i % 3 == 1 ? ActivationType::kBf16 : ActivationType::kF32,
                       .decays = static_cast<int32_t>(i % 2)});
      if (i % 3 == 1) list_.back().rounded = bf16.data();
      if (i % 3 == 2) list_.back().rounded = fp32.data();
      pieces_ += (n + kTrainedPiece - 1) / kTrainedPiece;
    }
  }
  TrainedList list() const { return {list_.data(), static_cast<int64_t>(list_.size()), pieces_}; }
  const std::vector<TrainedTensor>& tensors() const { return list_; }
  Floats gradient(size_t i) { return arrays_[i].gradient.values(); }
  void set_gradient(size_t i, int64_t at, float to) { arrays_[i].gradient.data()[at] = to; }
  // Of a tensor: bf16 bits.
  std::vector<uint16_t> rounded(size_t i) {
    return i % 3 == 1 ? arrays_[i].bf16.values() : in_bf16(arrays_[i].fp32.values());
  }
  // Weights and moments of all tensors.
  std::vector<Floats> values() {
    std::vector<Floats> out;
    for (auto& a : arrays_) out.insert(out.end(), {a.weights.values(), a.first.values(), a.second.values()});
    return out;
  }

 private:
  struct Arrays {
    Arrays(int64_t n, uint64_t seed, int offset)
        : gradient(random_row(n, seed + 1), offset),
          weights(random_row(n, seed + 2), offset),
          first(random_row(n, seed + 3), offset),
          second(random_row(n, seed + 4), offset),
          bf16(static_cast<size_t>(n), offset),
          fp32(static_cast<size_t>(n), offset) {
      for (int64_t i = 0; i < n; ++i) second.data()[i] *= second.data()[i];
      if (n > 3) second.data()[2] = 0;
    }
    Guarded<float> gradient, weights, first, second;
    Guarded<uint16_t> bf16;
    Guarded<float> fp32;
  };
  std::deque<Arrays> arrays_;
  std::vector<TrainedTensor> list_;
  int64_t pieces_ = 0;
};

// The reference on every tensor.
std::vector<Floats> reference_step(const std::vector<int64_t>& sizes, float scale) {
  Tensors tensors(sizes);
  for (const TrainedTensor& t : tensors.tensors()) {
    AdamwStep step = kStep;
    step.gradient_scale = scale;
    if (t.decays == 0) step.kept = 1;
    const Floats zeros(static_cast<size_t>(t.n));
    reference::adamw(step, t.gradient != nullptr ? t.gradient : zeros.data(), t.n, t.weights, t.first,
                     t.second);
  }
  return tensors.values();
}

std::vector<Floats> step_with(const std::vector<double>& norms, size_t own, double most, int offset) {
  Tensors tensors(kSizes, offset);
  const Clip clip{norms.data(), static_cast<int64_t>(norms.size()), static_cast<int64_t>(own), most};
  EXPECT_EQ(cuda::adamw(tensors.list(), kStep, clip, nullptr), 0);
  return tensors.values();
}

void expect_all_bits(const std::vector<Floats>& got, const std::vector<Floats>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    expect_bits(got[i], want[i], ("tensor " + std::to_string(i / 3)).c_str());
}

TEST(CudaAdamw, HasTheReferencesBitsInEveryTensor) {
  for (const int offset : kOffsets) {
    const auto after = in_every_order([&] { return step_with({7.5}, 0, 2.5, offset); });
    expect_all_bits(after, reference_step(kSizes, static_cast<float>(2.5 / (7.5 + 1e-6))));
  }
}

TEST(CudaAdamw, WritesTheRoundedCopiesBesideTheWeights) {
  const double norm = 3;
  for (const int offset : kOffsets) {
    in_every_order([&] {
      Tensors tensors(kSizes, offset);
      EXPECT_EQ(cuda::adamw(tensors.list(), kStep, {&norm, 1, 0, 1}, nullptr), 0);
      const std::vector<Floats> values = tensors.values();
      std::vector<std::vector<uint16_t>> out;
      for (size_t i = 0; i < kSizes.size(); ++i) {
        const auto want = in_bf16(values[3 * i]);
        out.push_back(tensors.rounded(i));
        expect_bits(out.back(), i % 3 == 0 ? std::vector<uint16_t>(want.size()) : want, "rounded");
      }
      return out;
    });
  }
}

TEST(CudaAdamw, ClipsOnlyWhatIsLargerAndByItsOwnNorm) {
  const auto whole = reference_step(kSizes, 1);
  expect_all_bits(step_with({7.5}, 0, 0, 0), whole);
  expect_all_bits(step_with({7.5}, 0, 8, 0), whole);
  expect_all_bits(step_with({0}, 0, 1, 0), Tensors(kSizes).values());
  expect_all_bits(step_with({100, 0.5}, 1, 1, 0), whole);
  expect_all_bits(step_with({0, 4}, 1, 1, 0), reference_step(kSizes, static_cast<float>(1 / (4 + 1e-6))));
  expect_all_bits(step_with({4, 0}, 1, 1, 0), whole);  // the other set moves: so does this one
}

TEST(CudaAdamw, WritesNothingWhereANormIsNotFinite) {
  const auto before = Tensors(kSizes).values();
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  for (const std::vector<double>& norms : {std::vector{nan}, {inf}, {nan, 1}, {1, inf}, {0, nan}, {0, 0}})
    expect_all_bits(step_with(norms, 0, 1, 0), before);
}

// The sums and the norm.
std::vector<std::vector<double>> norm_of(const Tensors& tensors) {
  Guarded<double> sums(kSquareSums, 0, 1.5), norm(1, 0, 1.5);
  EXPECT_EQ(cuda::norm(tensors.list(), sums.data(), norm.data(), nullptr), 0);
  return {sums.values(), norm.values()};
}

TEST(CudaNorm, IsThatOfAllGradientsWhereverTheyLie) {
  for (const auto& sizes : {kSizes, std::vector<int64_t>{}, {0}, {1}, {2'200'001}}) {
    const bool large = !sizes.empty() && sizes[0] > 1'000'000;  // takes its time
    std::vector<double> aligned;
    for (const int offset : kOffsets) {
      if (large && offset != 0) continue;
      Tensors tensors(sizes, offset);
      const auto run = [&] { return norm_of(tensors); };
      const auto got = large ? run() : in_every_order(run);
      if (!aligned.empty()) expect_bits(aligned, got[0], "at another address");
      aligned = got[0];
      double want = 0;
      for (size_t i = 0; i < sizes.size(); ++i) {
        if (i == 3) continue;
        for (const float v : tensors.gradient(i)) want += double{v} * v;
      }
      EXPECT_NEAR(got[1][0], std::sqrt(want), 1e-7 * std::sqrt(want));  // four squares in fp32
    }
  }
}

TEST(CudaNorm, AnInfinityOrNanReachesIt) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf(""), 1e30f}) {
    Tensors tensors(kSizes);
    tensors.set_gradient(8, 2 * kTrainedPiece + 4, bad);
    EXPECT_FALSE(std::isfinite(norm_of(tensors)[1][0]));
  }
}

TEST(CudaTable, HasEveryKernel) {
  const DeviceKernels& table = cuda_kernels();
  std::vector<void*> members(sizeof(DeviceKernels) / sizeof(void*));
  std::memcpy(members.data(), &table, sizeof(DeviceKernels));
  for (const void* member : members) EXPECT_NE(member, nullptr);
  EXPECT_NE(std::string(table.error_text(cuda_on_host::kFault)), "");
}

}  // namespace
}  // namespace fulcrum::kernels
