// Norms, SwiGLU and rope beside the references of engine/kernels.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "engine/kernels/rmsnorm/op.h"
#include "engine/kernels/rmsnorm_grad/op.h"
#include "engine/kernels/rope/op.h"
#include "engine/kernels/silu_mul/op.h"
#include "engine/kernels/silu_mul_grad/op.h"

namespace fulcrum::gpu_check {
namespace {

using kernels::ActivationType;
using Tensors = std::vector<at::Tensor>;

constexpr float kEpsilon = 1e-5F;
// In units of 2^-23; a device's exponential may be off by two where the emulation's is by one.
constexpr double kUnit = 0x1p-23;

at::ScalarType scalar_type(ActivationType type) {
  return type == ActivationType::kBf16 ? at::kBFloat16 : at::kFloat;
}

std::vector<Shape> shapes(const CheckOptions& options) {
  std::vector<Shape> out = {{1, 1}, {3, 2}, {5, 3}, {4, 31}, {2, 129}, {18, 20}, {3, 515}};
  if (!options.small) {
    for (const Shape& s : {Shape{67, 4096}, {33, 4099}, {17, 12288}, {17, 12289}, {4099, 576}, {1031, 2048}})
      out.push_back(s);
  }
  return out;
}

// For every shape, type and address: run(shape, offset, type) -> the kernel's outputs, the one of the type
// first; want(shape) -> what they should be. In bf16 the first must be the one in fp32, rounded.
template <class Run, class Want>
void compare(const CheckOptions& options, Worst& worst, double least, const Run& run, const Want& want) {
  for (const Shape& s : shapes(options)) {
    const Tensors expected = want(s);
    for (const int64_t offset : kOffsets) {
      const std::string where = named(s, offset);
      const Tensors in_fp32 = twice([&] { return run(s, offset, ActivationType::kF32); });
      const Tensors rounded = twice([&] { return run(s, offset, ActivationType::kBf16); });
      for (size_t i = 0; i < expected.size(); ++i)
        worst.add(apart(in_fp32[i], expected[i], least), where + ", output " + std::to_string(i));
      TORCH_CHECK(apart(rounded[0], in_fp32[0].to(at::kBFloat16), 1) == 0,
                  "in bf16 it is not the fp32 output, rounded: ", where);
    }
  }
}

struct NormInput {
  at::Tensor x, weight, dy, dx;
  explicit NormInput(const Shape& s)
      : x(numbers(s.rows * s.n, 1, 3)),
        weight(numbers(s.n, 2)),
        dy(numbers(s.rows * s.n, 3)),
        dx(numbers(s.rows * s.n, 4)) {}
};

void check_norms(const CheckOptions& options, const Kernels& k, Checks& checks) {
  checks.check("rmsnorm", 12 * kUnit, [&](Worst& worst) {
    const auto run = [&](const Shape& s, int64_t offset, ActivationType type) {
      const NormInput in(s);
      const Guarded x(in.x, k.device, offset), weight(in.weight, k.device, offset);
      const Guarded y(at::zeros({s.rows * s.n}, scalar_type(type)), k.device, offset);
      k.require(k.table.rmsnorm({x.data<float>(), weight.data<float>(), s.rows, s.n, kEpsilon}, type,
                                y.data<void>(), k.stream));
      return Tensors{y.values()};
    };
    compare(options, worst, 1e-3, run, [](const Shape& s) {
      const NormInput in(s);
      at::Tensor y = at::empty({s.rows, s.n});
      for (int64_t r = 0; r < s.rows; ++r) {
        kernels::reference::rmsnorm_row(in.x.data_ptr<float>() + r * s.n, in.weight.data_ptr<float>(), s.n,
                                        kEpsilon, y.data_ptr<float>() + r * s.n);
      }
      return Tensors{y};
    });
  });
  checks.check("rmsnorm_backward", 32 * kUnit, [&](Worst& worst) {
    const auto blocks = [](const Shape& s) {
      return (s.rows + kernels::kNormGradientRows - 1) / kernels::kNormGradientRows;
    };
    const auto run = [&](const Shape& s, int64_t offset, ActivationType type) {
      const NormInput in(s);
      const Guarded x(in.x, k.device, offset), weight(in.weight, k.device, offset);
      const Guarded dy(in.dy, k.device, offset), dx(in.dx, k.device, offset);
      const Guarded y(at::zeros({s.rows * s.n}, scalar_type(type)), k.device, offset);
      const Guarded d_weight(at::full({blocks(s) * s.n}, 77.0F), k.device, offset);
      k.require(k.table.rmsnorm_backward({x.data<float>(), weight.data<float>(), s.rows, s.n, kEpsilon},
                                         dy.data<float>(), type, y.data<void>(), dx.data<float>(),
                                         d_weight.data<float>(), k.stream));
      return Tensors{y.values(), dx.values(), d_weight.values()};
    };
    compare(options, worst, 1, run, [&](const Shape& s) {
      const NormInput in(s);
      const at::Tensor y = at::empty({s.rows, s.n}), d_weight = at::zeros({blocks(s), s.n});
      for (int64_t r = 0; r < s.rows; ++r) {
        kernels::reference::rmsnorm_row_backward(
            {in.x.data_ptr<float>() + r * s.n, in.weight.data_ptr<float>(), s.n, kEpsilon},
            in.dy.data_ptr<float>() + r * s.n, y.data_ptr<float>() + r * s.n,
            in.dx.data_ptr<float>() + r * s.n,
            d_weight.data_ptr<float>() + r / kernels::kNormGradientRows * s.n);
      }
      return Tensors{y, in.dx, d_weight};
    });
  });
}

// Gates at the ends of every range, 0 over 0 and NaN among them.
at::Tensor gates(const Shape& s) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float special[] = {0.0F, -0.0F, 88.0F, -88.0F, 200.0F, -200.0F, kInf, -kInf, NAN, 1e-30F};
  at::Tensor out = numbers(s.rows * 2 * s.n, 5, 4);
  for (int64_t i = 0; i < out.numel() && i < 200; i += 7) out.data_ptr<float>()[i] = special[i / 7 % 10];
  return out;
}

void check_swiglu(const CheckOptions& options, const Kernels& k, Checks& checks) {
  checks.check("swiglu", 16 * kUnit, [&](Worst& worst) {
    const auto run = [&](const Shape& s, int64_t offset, ActivationType type) {
      const Guarded in(gates(s), k.device, offset);
      const Guarded y(at::zeros({s.rows * s.n}, scalar_type(type)), k.device, offset);
      k.require(k.table.swiglu(in.data<float>(), s.rows, s.n, type, y.data<void>(), k.stream));
      return Tensors{y.values()};
    };
    compare(options, worst, 1e-30, run, [](const Shape& s) {
      const at::Tensor in = gates(s), y = at::empty({s.rows, s.n});
      for (int64_t r = 0; r < s.rows; ++r) {
        const float* gate = in.data_ptr<float>() + r * 2 * s.n;
        kernels::reference::silu_mul_row(gate, gate + s.n, s.n, y.data_ptr<float>() + r * s.n);
      }
      return Tensors{y};
    });
  });
  checks.check("swiglu_backward", 80 * kUnit, [&](Worst& worst) {
    const auto run = [&](const Shape& s, int64_t offset, ActivationType type) {
      const Guarded in(gates(s), k.device, offset), dy(numbers(s.rows * s.n, 6), k.device, offset);
      const Guarded y(at::zeros({s.rows * s.n}, scalar_type(type)), k.device, offset);
      const Guarded d(at::zeros({s.rows * 2 * s.n}), k.device, offset);
      // In fp32 the output may lie where the gradient came from.
      const bool in_place = type == ActivationType::kF32 && offset != 0;
      k.require(k.table.swiglu_backward(in.data<float>(), dy.data<float>(), s.rows, s.n, type,
                                        d.data<float>(), in_place ? dy.data<void>() : y.data<void>(),
                                        k.stream));
      return Tensors{in_place ? dy.values() : y.values(), d.values()};
    };
    compare(options, worst, 1, run, [](const Shape& s) {
      const at::Tensor in = gates(s), dy = numbers(s.rows * s.n, 6), y = at::empty({s.rows, s.n});
      const at::Tensor d = at::empty({s.rows, 2 * s.n});
      for (int64_t r = 0; r < s.rows; ++r) {
        const float* gate = in.data_ptr<float>() + r * 2 * s.n;
        float* to = d.data_ptr<float>() + r * 2 * s.n;
        kernels::reference::silu_mul_row_backward(gate, gate + s.n, dy.data_ptr<float>() + r * s.n, s.n, to,
                                                  to + s.n, y.data_ptr<float>() + r * s.n);
      }
      return Tensors{y, d};
    });
  });
}

void check_rope(const CheckOptions& options, const Kernels& k, Checks& checks) {
  struct Heads {
    int64_t rows, heads, head_dim, others;
  };
  std::vector<Heads> cases = {{1, 1, 2, 0}, {3, 2, 8, 3}, {2, 3, 6, 1}, {2, 1, 10, 3}};
  if (!options.small) cases.insert(cases.end(), {{4099, 9, 64, 192}, {513, 32, 128, 1024}});
  checks.check("rope", 8 * kUnit, [&](Worst& worst) {
    for (const Heads& h : cases) {
      const int64_t stride = h.heads * h.head_dim + h.others, half = h.head_dim / 2;
      const at::Tensor before = numbers(h.rows * stride, 7), cosines = numbers(h.rows * half, 8);
      for (const bool inverse : {false, true}) {
        const at::Tensor sines = numbers(h.rows * half, 9), want = before.clone();
        const at::Tensor turn = inverse ? -sines : sines;
        for (int64_t r = 0; r < h.rows; ++r) {
          kernels::reference::rope_row(want.data_ptr<float>() + r * stride, h.heads, h.head_dim,
                                       cosines.data_ptr<float>() + r * half,
                                       turn.data_ptr<float>() + r * half);
        }
        for (const int64_t offset : kOffsets) {
          const Tensors got = twice([&] {
            const Guarded x(before, k.device, offset), c(cosines, k.device, offset),
                s(sines, k.device, offset);
            k.require(k.table.rope({x.data<float>(), h.rows, stride, h.heads, h.head_dim, c.data<float>(),
                                    s.data<float>(), inverse},
                                   k.stream));
            return Tensors{x.values()};
          });
          worst.add(apart(got[0], want, 1),
                    named({h.rows, stride}, offset) + (inverse ? ", back" : ", forth"));
        }
      }
    }
  });
}

}  // namespace

void check_layer_kernels(const CheckOptions& options, Checks& checks) {
  const auto k = Kernels::find(options, checks, "rmsnorm, swiglu, rope");
  if (!k) return;
  check_norms(options, *k, checks);
  check_swiglu(options, *k, checks);
  check_rope(options, *k, checks);
}

}  // namespace fulcrum::gpu_check
