// Products, embeddings, norms and SwiGLU of a decode step, and that recorded work is run anew, beside the
// CPU.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <functional>

#include "bench/gpu/decode_call.h"
#include "bench/gpu/groups.h"

namespace fulcrum::gpu_check {
namespace {

using kernels::ActivationType;
using kernels::DeviceRow;
using Tensors = std::vector<at::Tensor>;

std::string named(ActivationType type) { return type == ActivationType::kBf16 ? " in bf16" : " in fp32"; }

struct Matrix {
  int64_t inputs, outputs;
};

std::vector<Matrix> matrices(const CheckOptions& options) {
  std::vector<Matrix> out = {{1, 1}, {5, 3}, {8, 17}, {260, 16}, {264, 35}, {1224, 70}};
  if (!options.small) out.insert(out.end(), {{576, 49152}, {4096, 12289}, {12289, 515}});
  return out;
}

// Some rows times a matrix of one type, its sums in double, and for each how large its terms are together.
class ProductCase {
 public:
  ProductCase(const DecodeCall& call, const Matrix& m, int64_t rows, ActivationType type)
      : call_(call),
        matrix_(m),
        type_(type),
        x_(numbers(rows * m.inputs, 21).to(scalar_type(type))),
        w_(numbers(m.outputs * m.inputs, 22).to(scalar_type(type))),
        far_x_(x_, call.device, 0),
        far_w_(w_, call.device, 0) {
    const at::Tensor x = x_.to(at::kDouble).view({rows, m.inputs});
    const at::Tensor w = w_.to(at::kDouble).view({m.outputs, m.inputs}).t();
    sums_ = x.matmul(w).flatten();
    sizes_ = x.abs().matmul(w.abs()).flatten();
  }

  // What the first rows give. `before`: what y holds, to which they are added; nothing: they are written.
  at::Tensor run(int64_t rows, std::optional<float> before, kernels::DeviceProducts library) const {
    const Guarded y(at::full({rows * matrix_.outputs}, before.value_or(NAN)), call_.device, 0);
    call_.require(call_.table.product(library,
                                      {.x = far_x_.data<void>(),
                                       .weights = far_w_.data<void>(),
                                       .type = type_,
                                       .rows = rows,
                                       .inputs = matrix_.inputs,
                                       .outputs = matrix_.outputs,
                                       .y = y.data<float>(),
                                       .add = before.has_value(),
                                       .fixed_order = library == nullptr},
                                      call_.stream));
    return y.values();
  }
  // The largest error in units of the terms' sizes.
  double error(const at::Tensor& y, double before) const {
    const int64_t n = y.numel();
    const at::Tensor want = sums_.narrow(0, 0, n) + before;
    return ((y.to(at::kDouble) - want).abs() / (sizes_.narrow(0, 0, n) + before)).max().item<double>();
  }

 private:
  const DecodeCall& call_;
  Matrix matrix_;
  ActivationType type_;
  at::Tensor x_, w_, sums_, sizes_;
  Guarded far_x_, far_w_;
};

constexpr int64_t kMostRows = 35;
constexpr float kBefore = 0.5F;
// Of fp32 chains; a tensor core may cut off where an addition rounds. A term that is missing is 1 / inputs.
constexpr double kProductTolerance[] = {2e-6, 1e-5};

// For every type and shape: compare(case, where, worst).
void each_product(const CheckOptions& options, const DecodeCall& call, Checks& checks,
                  const std::string& name,
                  const std::function<void(const ProductCase&, const Matrix&, Worst&)>& compare) {
  for (const ActivationType type : kTypes) {
    checks.check(name + named(type), kProductTolerance[static_cast<int>(type)], [&](Worst& worst) {
      for (const Matrix& m : matrices(options)) compare(ProductCase(call, m, kMostRows, type), m, worst);
    });
  }
}

std::string where_of(const Matrix& m, int64_t rows) {
  return gpu_check::named({rows, m.inputs}, 0) + " times " + std::to_string(m.outputs);
}

void check_products(const CheckOptions& options, const DecodeCall& call, Checks& checks) {
  each_product(options, call, checks, "product", [&](const ProductCase& c, const Matrix& m, Worst& worst) {
    const at::Tensor all = twice([&] { return Tensors{c.run(kMostRows, {}, nullptr)}; })[0];
    worst.add(c.error(all, 0), where_of(m, kMostRows));
    for (const int64_t rows : {int64_t{1}, int64_t{2}, int64_t{4}, int64_t{7}, int64_t{16}, kMostRows}) {
      const at::Tensor some = all.narrow(0, 0, rows * m.outputs);
      TORCH_CHECK(apart(c.run(rows, {}, nullptr), some, 1) == 0,
                  "a row hangs on the others: ", where_of(m, rows));
      TORCH_CHECK(apart(c.run(rows, kBefore, nullptr), some + kBefore, 1) == 0,
                  "not added to what was there: ", where_of(m, rows));
    }
  });
  kernels::DeviceProducts library = nullptr;
  const std::string name = "product in the library's order";
  checks.check(name + ": its handle", 0, [&](Worst& worst) {
    call.require(call.table.make_products(call.stream, &library));
    worst.add(library == nullptr ? 1 : 0, "made");
  });
  if (library == nullptr) return;
  each_product(options, call, checks, name, [&](const ProductCase& c, const Matrix& m, Worst& worst) {
    for (const int64_t rows : {int64_t{3}, kMostRows}) {
      worst.add(c.error(c.run(rows, {}, library), 0), where_of(m, rows));
      worst.add(c.error(c.run(rows, kBefore, library), kBefore), where_of(m, rows) + ", added");
    }
  });
  call.table.destroy_products(library);
}

// Tokens at both ends of a vocabulary, one of them in a row that is not live.
const std::vector<DeviceRow> kTokens = {{6, 0, 0, 1}, {3, 0, 0, 0}, {0, 0, 0, 1}, {3, 0, 0, 1}};
constexpr int64_t kVocabulary = 7;

at::Tensor embed(const DecodeCall& call, const at::Tensor& table, ActivationType type, int64_t n) {
  const Guarded embedding(table, call.device, 0);
  const GuardedValues<DeviceRow> rows(kTokens, call.device);
  const auto count = static_cast<int64_t>(kTokens.size());
  const Guarded hidden(at::full({count * n}, -1.0F), call.device, 0);
  call.require(call.table.embed({rows.data(), count, n, embedding.data<void>(), type, hidden.data<float>()},
                                call.stream));
  return hidden.values();
}

void check_embed(const CheckOptions& options, const DecodeCall& call, Checks& checks) {
  checks.check("embed", 0, [&](Worst& worst) {
    std::vector<int64_t> widths = {1, 3, 255, 300, 1031};
    if (!options.small) widths.push_back(12289);
    for (const ActivationType type : kTypes) {
      for (const int64_t n : widths) {
        const at::Tensor table = numbers(kVocabulary * n, 23).to(scalar_type(type));
        const at::Tensor want = at::full({static_cast<int64_t>(kTokens.size()), n}, -1.0F);
        for (size_t r = 0; r < kTokens.size(); ++r) {
          if (kTokens[r].live != 0)
            want[static_cast<int64_t>(r)] = table.narrow(0, kTokens[r].token * n, n).to(at::kFloat);
        }
        const Tensors got = twice([&] { return Tensors{embed(call, table, type, n)}; });
        worst.add(apart(got[0], want, 1), "rows of " + std::to_string(n) + named(type));
      }
    }
  });
}

// The decode step's are those of training, which have checks of their own beside the CPU.
void check_shared(const CheckOptions& options, const DecodeCall& call, Checks& checks) {
  const std::string name = "rmsnorm and swiglu of a decode step: other bits than in training";
  const auto training = Kernels::find(options, checks, name);
  if (!training) return;
  checks.check(name, 0, [&](Worst& worst) {
    for (const ActivationType type : kTypes) {
      for (const Shape& s : {Shape{1, 1}, {3, 129}, {5, 515}}) {
        const Guarded x(numbers(2 * s.rows * s.n, 24), call.device, 0), w(numbers(s.n, 25), call.device, 0);
        const auto zeros = at::zeros({s.rows * s.n}, scalar_type(type));
        const Guarded norm(zeros, call.device, 0), their_norm(zeros, call.device, 0);
        const Guarded gated(zeros, call.device, 0), their_gated(zeros, call.device, 0);
        const kernels::NormRows in{x.data<float>(), w.data<float>(), s.rows, s.n, 1e-5F};
        call.require(call.table.rmsnorm(in, type, norm.data<void>(), call.stream));
        training->require(training->table.rmsnorm(in, type, their_norm.data<void>(), training->stream));
        call.require(call.table.swiglu(x.data<float>(), s.rows, s.n, type, gated.data<void>(), call.stream));
        training->require(training->table.swiglu(x.data<float>(), s.rows, s.n, type, their_gated.data<void>(),
                                                 training->stream));
        worst.add(apart(norm.values(), their_norm.values(), 1), gpu_check::named(s, 0) + ", rmsnorm");
        worst.add(apart(gated.values(), their_gated.values(), 1), gpu_check::named(s, 0) + ", swiglu");
      }
    }
  });
}

// One recording, two launches with other tokens between them; on a stream of its own, as a decoder has it.
void check_recording(const DecodeCall& call, Checks& checks) {
  checks.check("recorded work: not of what lies there when it is launched", 0, [&](Worst& worst) {
    constexpr int64_t kWidth = 300;
    const at::Tensor table = numbers(kVocabulary * kWidth, 26);
    const Guarded embedding(table, call.device, 0), hidden(at::full({kWidth}, -1.0F), call.device, 0);
    const GuardedValues<DeviceRow> rows({{0, 0, 0, 0}}, call.device);
    kernels::DeviceStream stream = nullptr;
    kernels::DeviceGraph graph = nullptr;
    call.require(call.table.make_stream(&stream));
    call.require(call.table.begin_capture(stream));
    const int error = call.table.embed(
        {rows.data(), 1, kWidth, embedding.data<void>(), ActivationType::kF32, hidden.data<float>()}, stream);
    call.require(call.table.end_capture(stream, &graph));
    call.require(error);
    worst.add(apart(hidden.values(), at::full({kWidth}, -1.0F), 1), "run while it was recorded");
    for (const int32_t token : {5, 2}) {
      const DeviceRow row{token, 0, 0, 1};
      call.require(call.table.upload(rows.data(), &row, sizeof row, stream));
      call.require(call.table.launch(graph, stream));
      call.require(call.table.synchronise(stream));
      worst.add(apart(hidden.values(), table.narrow(0, token * kWidth, kWidth), 1),
                "token " + std::to_string(token));
    }
    call.table.destroy_graph(graph);
    call.table.destroy_stream(stream);
  });
}

}  // namespace

void check_decode_kernels(const CheckOptions& options, Checks& checks) {
  const auto call = DecodeCall::find(options, checks, "product, embed, recorded work");
  if (!call) return;
  check_products(options, *call, checks);
  check_embed(options, *call, checks);
  check_shared(options, *call, checks);
  check_recording(*call, checks);
}

}  // namespace fulcrum::gpu_check
