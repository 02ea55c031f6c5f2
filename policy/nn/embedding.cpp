#include "policy/nn/embedding.h"

#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "policy/nn/parallel.h"

namespace fulcrum {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Threads take columns: each adds the rows in the same order.
void add_rows(const at::Tensor& to_VD, const at::Tensor& ids_T, const at::Tensor& rows_TD) {
  constexpr int64_t kColumns = 64;
  const int64_t* ids = ids_T.const_data_ptr<int64_t>();
  const float* rows = rows_TD.const_data_ptr<float>();
  float* to = to_VD.mutable_data_ptr<float>();
  const int64_t count = ids_T.size(0), width = rows_TD.size(1);
  parallel_for((width + kColumns - 1) / kColumns, [&](int64_t block) {
    const int64_t begin = block * kColumns, n = std::min(kColumns, width - begin);
    for (int64_t t = 0; t < count; ++t) {
      const float* row = rows + t * width + begin;
      float* sum = to + ids[t] * width + begin;
      for (int64_t i = 0; i < n; ++i) sum[i] += row[i];
    }
  });
}

class Embedding : public torch::autograd::Function<Embedding> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& leaf_VD, const at::Tensor& value_VD,
                            const at::Tensor& ids_T) {
    ctx->save_for_backward({leaf_VD, ids_T});
    return at::embedding(value_VD, ids_T);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &leaf_VD = saved[0], &ids_T = saved[1];
    const at::Tensor sum_VD = leaf_VD.grad(), rows_TD = grads[0].contiguous();
    if (sum_VD.defined() && sum_VD.is_cpu() && sum_VD.is_contiguous()) {
      add_rows(sum_VD, ids_T.to(at::kLong), rows_TD);
      return {at::Tensor(), at::Tensor(), at::Tensor()};
    }
    const at::Tensor gradient_VD =
        at::embedding_dense_backward(rows_TD, ids_T, leaf_VD.size(0), /*padding_idx=*/-1, false);
    return {gradient_VD, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor embed(const Plain& weight_VD, const at::Tensor& ids_T) {
  return Embedding::apply(weight_VD.leaf, weight_VD.value(), ids_T);
}

}  // namespace fulcrum
