// A step's batch made row by row, and the objective's three steps run over it as the learner would: prepare()
// once, loss() for each slice of whole rows, the gradient taken by autograd. For tests of objectives.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/objective/objective.h"

namespace fulcrum::testing {

// One completion; the vectors have one entry a token, or none where the objective does not read them.
struct FixtureRow {
  std::vector<double> logps, old_logps, reference_logps, sampling_logps, stored_logps;
  std::vector<double> divergence;          // to the reference
  std::vector<double> values, old_values;  // of a critic; none: the objective is given none
  std::vector<int> mask;                   // empty: all 1
  std::vector<double> advantages;          // not empty: put over what prepare() found
  std::optional<double> reward = 0.0;
  int64_t group = 0;
  bool truncated = false, rehearsal = false;
};

struct LossRun {
  Status status;
  double loss = 0;
  std::vector<std::vector<double>> gradient;  // per row and token, with respect to logps
  // The same for the values and the divergence, where rows have them.
  std::vector<std::vector<double>> value_gradient, divergence_gradient;
  Metrics prepared, metrics;
  TrainBatch batch;  // after prepare()
};

class LossFixture {
 public:
  explicit LossFixture(std::vector<FixtureRow> rows) : rows_(std::move(rows)) {}

  // `micro`: rows a slice; 0: all in one.
  LossRun run(const Objective& objective, at::ScalarType dtype = at::kDouble, int64_t micro = 0) const {
    LossRun out;
    TrainBatch batch = make_batch(0, rows_.size());
    ObjectiveState state;
    out.status = objective.prepare(batch, state, out.prepared);
    if (!out.status.ok()) return out;
    const auto total = static_cast<int64_t>(rows_.size());
    if (micro == 0) micro = std::max<int64_t>(total, 1);
    for (int64_t begin = 0; begin < total; begin += micro) {
      add_slice(objective, batch, static_cast<size_t>(begin),
                static_cast<size_t>(std::min(begin + micro, total)), dtype, out);
      if (!out.status.ok()) break;
    }
    out.batch = std::move(batch);
    return out;
  }

  // To move a number and run again.
  std::vector<FixtureRow>& rows() { return rows_; }

 private:
  TrainBatch make_batch(size_t begin, size_t end) const {
    TrainBatch batch;
    for (size_t r = begin; r < end; ++r) {
      const FixtureRow& row = rows_[r];
      const auto n = static_cast<int64_t>(row.logps.size()), at = batch.num_targets();
      batch.rows.push_back({.group = row.group,
                            .token_begin = at,
                            .token_end = at + n,
                            .target_begin = at,
                            .target_end = at + n,
                            .prompt_row = static_cast<int64_t>(100 + r),
                            .truncated = row.truncated,
                            .rehearsal = row.rehearsal,
                            .has_reward = row.reward.has_value(),
                            .reward = row.reward.value_or(0)});
      // What the learner fetches before prepare(); an old policy that is not given is the current one.
      append(batch.old_logps, row.old_logps.empty() ? row.logps : row.old_logps, row);
      append(batch.reference_logps, row.reference_logps, row);
      if (has(&FixtureRow::sampling_logps)) append(batch.sampling_logps, row.sampling_logps, row);
      if (has(&FixtureRow::values)) append(batch.old_values, row.old_values, row);
      for (int64_t t = 0; t < n; ++t) {
        batch.target_ids.push_back(static_cast<TokenId>(t + 7 * static_cast<int64_t>(r)));
        batch.target_row.push_back(static_cast<int64_t>(r - begin));
        batch.target_mask.push_back(
            row.mask.empty() ? 1 : static_cast<uint8_t>(row.mask[static_cast<size_t>(t)]));
        batch.stored_logps.push_back(
            row.stored_logps.empty() ? 0.0F : static_cast<float>(row.stored_logps[static_cast<size_t>(t)]));
      }
    }
    return batch;
  }

  at::Tensor gather(size_t begin, size_t end, std::vector<double> FixtureRow::*member, at::ScalarType dtype,
                    const std::vector<double>& fallback) const {
    std::vector<double> values;
    size_t offset = 0;
    for (size_t r = begin; r < end; ++r) {
      const std::vector<double>& own = rows_[r].*member;
      for (size_t t = 0; t < rows_[r].logps.size(); ++t) {
        values.push_back(own.empty() ? (fallback.empty() ? 0.0 : fallback[offset + t]) : own[t]);
      }
      offset += rows_[r].logps.size();
    }
    return at::tensor(values, at::kDouble).to(dtype);
  }

  static void append(std::vector<float>& into, const std::vector<double>& values, const FixtureRow& row) {
    for (size_t t = 0; t < row.logps.size(); ++t)
      into.push_back(values.empty() ? 0.0F : static_cast<float>(values[t]));
  }

  bool has(std::vector<double> FixtureRow::*member) const {
    return std::any_of(rows_.begin(), rows_.end(),
                       [&](const FixtureRow& row) { return !(row.*member).empty(); });
  }

  void add_slice(const Objective& objective, const TrainBatch& whole, size_t begin, size_t end,
                 at::ScalarType dtype, LossRun& out) const {
    TrainBatch slice = make_batch(begin, end);
    slice.denominator = whole.denominator;
    slice.rehearsal_denominator = whole.rehearsal_denominator;
    slice.kl_coefficient = whole.kl_coefficient;
    const auto first = static_cast<size_t>(whole.rows[begin].target_begin);
    const auto last = static_cast<size_t>(whole.rows[end - 1].target_end);
    slice.target_mask.assign(whole.target_mask.begin() + static_cast<int64_t>(first),
                             whole.target_mask.begin() + static_cast<int64_t>(last));
    std::vector<double> advantages;
    if (!whole.advantages.empty()) {
      for (size_t n = first; n < last; ++n) advantages.push_back(double(whole.advantages[n]));
    }
    at::Tensor logps = gather(begin, end, &FixtureRow::logps, dtype, {}).requires_grad_(true);
    LossInput input(slice);
    input.logps_N = logps;
    input.row_N = at::tensor(slice.target_row, at::kLong);
    input.mask_N = at::tensor(slice.target_mask, at::kByte).to(at::kBool);
    if (has(&FixtureRow::divergence))
      input.divergence_N = gather(begin, end, &FixtureRow::divergence, dtype, {}).requires_grad_(true);
    if (has(&FixtureRow::old_logps))
      input.old_logps_N = gather(begin, end, &FixtureRow::old_logps, dtype, {});
    if (has(&FixtureRow::sampling_logps))
      input.sampling_logps_N = gather(begin, end, &FixtureRow::sampling_logps, dtype, {});
    input.reference_logps_N = gather(begin, end, &FixtureRow::reference_logps, dtype, {});
    input.stored_logps_N = gather(begin, end, &FixtureRow::stored_logps, dtype, {});
    input.advantages_N = gather(begin, end, &FixtureRow::advantages, dtype, advantages);
    if (has(&FixtureRow::values)) {
      input.values_N = gather(begin, end, &FixtureRow::values, dtype, {}).requires_grad_(true);
      input.old_values_N = gather(begin, end, &FixtureRow::old_values, dtype, {});
      const std::vector<float> returns(whole.returns.begin() + static_cast<int64_t>(first),
                                       whole.returns.begin() + static_cast<int64_t>(last));
      input.returns_N = at::tensor(returns, at::kFloat).to(dtype);
    }
    auto result = objective.loss(input);
    out.status = result.status();
    if (!result.ok()) return;
    out.loss += result->loss.item<double>();
    merge_metrics(out.metrics, result->metrics);
    if (result->loss.requires_grad()) result->loss.backward();
    add_gradient(slice, logps, out.gradient);
    if (has(&FixtureRow::values)) add_gradient(slice, input.values_N, out.value_gradient);
    if (input.divergence_N.defined()) add_gradient(slice, input.divergence_N, out.divergence_gradient);
  }

  static void add_gradient(const TrainBatch& slice, const at::Tensor& leaf_N,
                           std::vector<std::vector<double>>& rows) {
    const at::Tensor grad =
        leaf_N.grad().defined() ? leaf_N.grad().to(at::kDouble) : at::zeros_like(leaf_N, at::kDouble);
    const double* data = grad.const_data_ptr<double>();
    for (const BatchRow& row : slice.rows) rows.emplace_back(data + row.target_begin, data + row.target_end);
  }

  std::vector<FixtureRow> rows_;
};

}  // namespace fulcrum::testing
