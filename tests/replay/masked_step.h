// A case's [B][T] matrices as the targets of one step, and back: what the ops of the losses share. The
// tolerances are those of layout B.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "engine/objective/objective.h"
#include "tests/replay/replay.h"

namespace fulcrum::replay {

using Matrix = std::vector<std::vector<double>>;

Tolerance tolerance_of(Precision precision);
at::ScalarType dtype_of(Precision precision);
std::vector<double> doubles(const at::Tensor& x);

// Numbers against the file's, at its precision; in float32 what the file calls too large for it is passed
// over.
void compare(Tally& tally, double got, const Json& want, Precision precision, const std::string& what);
void compare(Tally& tally, std::vector<double> got, const Json& want, Precision precision,
             const std::string& what);
void compare(Tally& tally, const Matrix& got, const Json& want, Precision precision, const std::string& what);

// An op whose product code works on the host in double: float32 has no meaning there.
Op in_double(std::function<void(const Json& in, const Json& want, Tally& tally)> run);
// An op that runs in both.
Op in_both(std::function<void(const Json& in, const Json& want, Precision precision, Tally& tally)> run);

// Every position is a target, masked or not. `rehearsal`: the rows are stored samples (DPH-RL).
class MaskedStep {
 public:
  MaskedStep(const Json& mask, Precision precision, bool rehearsal = false);
  MaskedStep(const MaskedStep&) = delete;
  MaskedStep& operator=(const MaskedStep&) = delete;

  at::Tensor targets(const Json& rows) const;    // [B][T]; 0 where masked
  at::Tensor leaf(const Json& rows) const;       // the same, with a gradient
  at::Tensor spread(const Json& per_row) const;  // [B], on each of the row's targets
  Matrix rows(const at::Tensor& x_N) const;      // 0 where masked
  // The gradient of `loss` with respect to a leaf.
  Matrix gradient(const at::Tensor& loss, const at::Tensor& leaf_N) const;

  const LossInput& input() const { return input_; }
  const at::Tensor& mask_N() const { return input_.mask_N; }
  const TrainBatch& batch() const { return batch_; }

 private:
  Precision precision_;
  TrainBatch batch_;
  LossInput input_;
};

}  // namespace fulcrum::replay
