// Norms, SwiGLU and rope against the CPU's references.
#include <limits>

#include "engine/kernels/rmsnorm/op.h"
#include "engine/kernels/rmsnorm_grad/op.h"
#include "engine/kernels/rope/op.h"
#include "engine/kernels/silu_mul/op.h"
#include "engine/kernels/silu_mul_grad/op.h"
#include "tests/unit/engine/kernels/cuda/cuda_testing.h"

namespace fulcrum::kernels {
namespace {

using Floats = std::vector<float>;
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Shape {
  int64_t rows, n;
};
// One warp a row, several, and loops over a row; lengths that are and are not of whole fours.
constexpr Shape kShapes[] = {{0, 8},  {3, 0},   {1, 1},   {3, 2},   {5, 3},   {2, 4},    {4, 31},
                             {3, 64}, {2, 129}, {2, 512}, {3, 515}, {2, 600}, {2, 4100}, {18, 20}};

std::string named(const Shape& s, int offset) {
  return "rows " + std::to_string(s.rows) + ", n " + std::to_string(s.n) + ", offset " +
         std::to_string(offset);
}

// Calls kernel(type, pointer) for an output of n numbers in both types and gives what it wrote in fp32; in
// bf16 it must be just that, rounded.
template <class Kernel>
Floats in_both_types(size_t n, int offset, const Kernel& kernel) {
  const auto in_fp32 = in_every_order([&] {
    Guarded<float> y(n, offset);
    EXPECT_EQ(kernel(ActivationType::kF32, y.data()), 0);
    return std::vector<Floats>{y.values()};
  });
  const auto rounded = in_every_order([&] {
    Guarded<uint16_t> y(n, offset);
    EXPECT_EQ(kernel(ActivationType::kBf16, y.data()), 0);
    return std::vector<std::vector<uint16_t>>{y.values()};
  });
  expect_bits(rounded[0], in_bf16(in_fp32[0]), "bf16");
  return in_fp32[0];
}

TEST(CudaRmsnorm, IsTheReferenceInBothTypes) {
  for (const Shape& s : kShapes) {
    for (const int offset : kOffsets) {
      const auto size = static_cast<size_t>(s.rows * s.n);
      Guarded<float> x(random_row(s.rows * s.n, 1, 3), offset), weight(random_row(s.n, 2), offset);
      const NormRows in{x.data(), weight.data(), s.rows, s.n, 1e-5f};
      const Floats y = in_both_types(size, offset, [&](ActivationType type, void* out) {
        return cuda::rmsnorm(in, type, out, nullptr);
      });
      Floats want(size);
      for (int64_t r = 0; r < s.rows; ++r)
        reference::rmsnorm_row(x.data() + r * s.n, weight.data(), s.n, 1e-5f, want.data() + r * s.n);
      // The squares are added in another order: a few units of the scale.
      expect_close(y, want, 6, 0, named(s, offset));
    }
  }
}

TEST(CudaRmsnorm, ARowsBitsDoNotHangOnWhereItLies) {
  const int64_t n = 1027;  // rows begin at every remainder of 16 bytes
  const Floats row = random_row(n, 3);
  Floats all;
  for (int r = 0; r < 5; ++r) all.insert(all.end(), row.begin(), row.end());
  const Floats weight = random_row(n, 4);
  Floats y(all.size());
  ASSERT_EQ(cuda::rmsnorm({all.data(), weight.data(), 5, n, 1e-6f}, ActivationType::kF32, y.data(), nullptr),
            0);
  for (int r = 1; r < 5; ++r)
    expect_bits(Floats(y.begin(), y.begin() + n), Floats(y.begin() + r * n, y.begin() + (r + 1) * n), "row");
}

void check_norm_gradient(const Shape& s, int offset) {
  const auto size = static_cast<size_t>(s.rows * s.n);
  const int64_t blocks = (s.rows + kNormGradientRows - 1) / kNormGradientRows;
  Guarded<float> x(random_row(s.rows * s.n, 1, 3), offset), weight(random_row(s.n, 2), offset);
  Guarded<float> dy(random_row(s.rows * s.n, 3), offset);
  const Floats before = random_row(s.rows * s.n, 4);
  const NormRows in{x.data(), weight.data(), s.rows, s.n, 1e-5f};
  Floats dx, d_weight;
  const Floats y = in_both_types(size, offset, [&](ActivationType type, void* out) {
    Guarded<float> through(before, offset), sums(static_cast<size_t>(blocks * s.n), offset, 77.0f);
    const int error = cuda::rmsnorm_backward(in, dy.data(), type, out, through.data(), sums.data(), nullptr);
    if (!dx.empty()) expect_bits(dx, through.values(), "dx");
    if (!d_weight.empty()) expect_bits(d_weight, sums.values(), "d_weight");
    dx = through.values();
    d_weight = sums.values();
    return error;
  });
  Floats want_y(size), want_dx = before, want_d_weight(static_cast<size_t>(blocks * s.n));
  for (int64_t r = 0; r < s.rows; ++r) {
    reference::rmsnorm_row_backward({x.data() + r * s.n, weight.data(), s.n, 1e-5f}, dy.data() + r * s.n,
                                    want_y.data() + r * s.n, want_dx.data() + r * s.n,
                                    want_d_weight.data() + r / kNormGradientRows * s.n);
  }
  // Sums in another order, and a difference of numbers of about 1 in dx.
  expect_close(y, want_y, 6, 0, "y, " + named(s, offset));
  expect_close(dx, want_dx, 8, 1, "dx, " + named(s, offset));
  expect_close(d_weight, want_d_weight, 16, 1, "d_weight, " + named(s, offset));
}

TEST(CudaRmsnorm, BackwardIsTheReferenceInBothTypes) {
  for (const Shape& s : kShapes) {
    for (const int offset : kOffsets) check_norm_gradient(s, offset);
  }
}

// All 48 KiB of dynamic shared memory, which a kernel with __shared__ variables must ask for.
TEST(CudaRmsnorm, BackwardTakesRowsThatFillSharedMemory) {
  check_norm_gradient({17, 12257}, 0);
  check_norm_gradient({2, 12288}, 1);
}

// The weights' gradients of rows too long for shared memory are added up where they belong.
TEST(CudaRmsnorm, BackwardTakesRowsLongerThanSharedMemory) {
  check_norm_gradient({17, 12289}, 0);
  check_norm_gradient({2, 12292}, 1);
}

// Gates at the ends of every range, 0 over 0 and NaN among them.
Floats gates(int64_t rows, int64_t n) {
  Floats out = random_row(rows * 2 * n, 5, 4);
  const float special[] = {0.0f, -0.0f, 88.0f, -88.0f, 200.0f, -200.0f, kInf, -kInf, std::nanf(""), 1e-30f};
  for (size_t i = 0; i < out.size() && i < 200; i += 7) out[i] = special[i / 7 % 10];
  return out;
}

// The exponentials may each be off by a unit, and so the quotients by three; a gate far below 0 leaves
// nothing but its last bits.
constexpr double kSwigluUlps = 6, kSwigluLeast = 1e-30;

TEST(CudaSwiglu, IsTheReferenceInBothTypes) {
  for (const Shape& s : kShapes) {
    for (const int offset : kOffsets) {
      Guarded<float> gate_up(gates(s.rows, s.n), offset);
      const auto size = static_cast<size_t>(s.rows * s.n);
      const Floats y = in_both_types(size, offset, [&](ActivationType type, void* out) {
        return cuda::swiglu(gate_up.data(), s.rows, s.n, type, out, nullptr);
      });
      Floats want(size);
      for (int64_t r = 0; r < s.rows; ++r) {
        const float* gate = gate_up.data() + r * 2 * s.n;
        reference::silu_mul_row(gate, gate + s.n, s.n, want.data() + r * s.n);
      }
      expect_close(y, want, kSwigluUlps, kSwigluLeast, named(s, offset));
    }
  }
}

TEST(CudaSwiglu, BackwardIsTheReferenceInBothTypesAndInPlace) {
  for (const Shape& s : kShapes) {
    for (const int offset : kOffsets) {
      Guarded<float> gate_up(gates(s.rows, s.n), offset);
      const Floats dy = random_row(s.rows * s.n, 6);
      const auto size = static_cast<size_t>(s.rows * s.n);
      Floats d_gate_up;
      const Floats y = in_both_types(size, offset, [&](ActivationType type, void* out) {
        Guarded<float> upstream(dy, offset), through(2 * size, offset, 5.0f);
        const int error = cuda::swiglu_backward(gate_up.data(), upstream.data(), s.rows, s.n, type,
                                                through.data(), out, nullptr);
        if (!d_gate_up.empty()) expect_bits(d_gate_up, through.values(), "d_gate_up");
        d_gate_up = through.values();
        return error;
      });
      Guarded<float> both(dy, offset), through(2 * size, offset);
      ASSERT_EQ(cuda::swiglu_backward(gate_up.data(), both.data(), s.rows, s.n, ActivationType::kF32,
                                      through.data(), both.data(), nullptr),
                0);
      expect_bits(both.values(), y, "y over dy");
      expect_bits(through.values(), d_gate_up, "d_gate_up, y over dy");
      Floats want_y(size), want_d(2 * size);
      for (int64_t r = 0; r < s.rows; ++r) {
        const float* gate = gate_up.data() + r * 2 * s.n;
        float* d = want_d.data() + r * 2 * s.n;
        reference::silu_mul_row_backward(gate, gate + s.n, dy.data() + r * s.n, s.n, d, d + s.n,
                                         want_y.data() + r * s.n);
      }
      expect_close(y, want_y, kSwigluUlps, kSwigluLeast, "y, " + named(s, offset));
      // 1 + gate (1 - s) takes from 1 what is nearly 1.
      expect_close(d_gate_up, want_d, 40, 1, "d_gate_up, " + named(s, offset));
    }
  }
}

TEST(CudaRope, HasTheReferencesBitsAndLeavesTheOtherHeadsAlone) {
  struct Heads {
    int64_t rows, heads, head_dim, others;
  };
  for (const Heads& h : {Heads{0, 2, 8, 0},
                         {1, 1, 2, 0},
                         {3, 2, 8, 8},
                         {3, 2, 8, 3},
                         {2, 3, 6, 1},
                         {3, 4, 64, 32},
                         {2, 1, 10, 3},
                         {5, 9, 128, 256}}) {
    for (const int offset : kOffsets) {
      for (const bool inverse : {false, true}) {
        const int64_t stride = h.heads * h.head_dim + h.others, half = h.head_dim / 2;
        const Floats before = random_row(h.rows * stride, 7);
        Guarded<float> cosines(random_row(h.rows * half, 8), offset),
            sines(random_row(h.rows * half, 9), offset);
        const auto rotated = in_every_order([&] {
          Guarded<float> x(before, offset);
          EXPECT_EQ(cuda::rope({x.data(), h.rows, stride, h.heads, h.head_dim, cosines.data(), sines.data(),
                                inverse},
                               nullptr),
                    0);
          return std::vector<Floats>{x.values()};
        });
        Floats want = before, angles = sines.values();
        if (inverse) {
          for (float& s : angles) s = -s;
        }
        for (int64_t r = 0; r < h.rows; ++r) {
          reference::rope_row(want.data() + r * stride, h.heads, h.head_dim, cosines.data() + r * half,
                              angles.data() + r * half);
        }
        expect_bits(rotated[0], want, "rotated");
      }
    }
  }
}

}  // namespace
}  // namespace fulcrum::kernels
