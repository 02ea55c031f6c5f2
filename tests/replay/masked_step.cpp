#include "tests/replay/masked_step.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "engine/objective/masked.h"

namespace fulcrum::replay {
namespace {

// Layout B: "entries above 1e30 are for float64 only".
constexpr double kLargestInFloat32 = 1e30;

TrainBatch batch_of(const Json& mask, bool rehearsal) {
  TrainBatch batch;
  for (const Json& row : mask) {
    const int64_t begin = batch.num_targets(), end = begin + static_cast<int64_t>(row.size());
    const int64_t index = batch.num_rows();
    batch.rows.push_back({.group = index,
                          .token_begin = begin,
                          .token_end = end,
                          .target_begin = begin,
                          .target_end = end,
                          .prompt_row = index,
                          .rehearsal = rehearsal});
    for (const Json& m : row) {
      batch.target_ids.push_back(0);
      batch.target_row.push_back(index);
      batch.target_mask.push_back(m.get<uint8_t>());
    }
  }
  return batch;
}

}  // namespace

Tolerance tolerance_of(Precision precision) {
  return precision == Precision::kFloat64 ? Tolerance{} : Tolerance{.relative = 3e-5, .absolute = 3e-6};
}

at::ScalarType dtype_of(Precision precision) {
  return precision == Precision::kFloat64 ? at::kDouble : at::kFloat;
}

std::vector<double> doubles(const at::Tensor& x) {
  const at::Tensor values = x.detach().to(at::kDouble).contiguous();
  return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
}

void compare(Tally& tally, double got, const Json& want, Precision precision, const std::string& what) {
  if (precision == Precision::kFloat32 && std::abs(number(want)) > kLargestInFloat32) return;
  tally.near(got, want, tolerance_of(precision), what);
}

void compare(Tally& tally, std::vector<double> got, const Json& want, Precision precision,
             const std::string& what) {
  if (precision == Precision::kFloat32 && got.size() == want.size()) {
    for (size_t i = 0; i < got.size(); ++i) {
      if (std::abs(number(want[i])) > kLargestInFloat32) got[i] = number(want[i]);
    }
  }
  tally.near(got, want, tolerance_of(precision), what);
}

void compare(Tally& tally, const Matrix& got, const Json& want, Precision precision,
             const std::string& what) {
  if (got.size() != want.size()) return tally.fail(what + ": another number of rows");
  for (size_t r = 0; r < got.size(); ++r)
    compare(tally, got[r], want[r], precision, what + "[" + std::to_string(r) + "]");
}

Op in_double(std::function<void(const Json& in, const Json& want, Tally& tally)> run) {
  return [run = std::move(run)](const Json& item, Precision precision, Tally& tally) {
    if (precision == Precision::kFloat32) return tally.skipped();
    tally.ran();
    run(item.at("inputs"), item.at("expected"), tally);
  };
}

Op in_both(std::function<void(const Json& in, const Json& want, Precision precision, Tally& tally)> run) {
  return [run = std::move(run)](const Json& item, Precision precision, Tally& tally) {
    tally.ran();
    run(item.at("inputs"), item.at("expected"), precision, tally);
  };
}

MaskedStep::MaskedStep(const Json& mask, Precision precision, bool rehearsal)
    : precision_(precision), batch_(batch_of(mask, rehearsal)), input_(batch_) {
  input_.row_N = at::tensor(at::ArrayRef<int64_t>(batch_.target_row), at::kLong);
  input_.mask_N = at::tensor(at::ArrayRef<uint8_t>(batch_.target_mask), at::kByte).to(at::kBool);
}

at::Tensor MaskedStep::targets(const Json& rows) const {
  std::vector<double> flat;
  for (const Json& row : rows) {
    for (const double x : numbers(row)) flat.push_back(x);
  }
  return keep(at::tensor(flat, at::kDouble).to(dtype_of(precision_)), input_.mask_N);
}

at::Tensor MaskedStep::leaf(const Json& rows) const { return targets(rows).requires_grad_(true); }

at::Tensor MaskedStep::spread(const Json& per_row) const {
  const at::Tensor values = at::tensor(numbers(per_row), at::kDouble).to(dtype_of(precision_));
  return at::index_select(values, 0, input_.row_N);
}

Matrix MaskedStep::rows(const at::Tensor& x_N) const {
  const std::vector<double> flat = doubles(keep(x_N, input_.mask_N));
  Matrix out;
  for (const BatchRow& row : batch_.rows)
    out.emplace_back(flat.begin() + row.target_begin, flat.begin() + row.target_end);
  return out;
}

Matrix MaskedStep::gradient(const at::Tensor& loss, const at::Tensor& leaf_N) const {
  if (!loss.requires_grad()) return rows(at::zeros_like(leaf_N));
  const at::Tensor gradient_N =
      torch::autograd::grad({loss}, {leaf_N}, {}, /*retain_graph=*/true, false, /*allow_unused=*/true)[0];
  return rows(gradient_N.defined() ? gradient_N : at::zeros_like(leaf_N));
}

}  // namespace fulcrum::replay
