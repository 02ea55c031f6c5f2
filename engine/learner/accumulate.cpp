#include "engine/learner/accumulate.h"

#include "engine/data/slice.h"

namespace fulcrum {
namespace {

void append(std::vector<float>& out, const at::Tensor& values_N) {
  if (!values_N.defined()) return;
  const float* values = values_N.const_data_ptr<float>();
  out.insert(out.end(), values, values + values_N.numel());
}

}  // namespace

Result<StepLoss> accumulate(const LossPass& pass, const TrainBatch& batch, Metrics& metrics,
                            const std::stop_token& stop) {
  StepLoss out;
  for (const RowRange range : micro_batches(batch, pass.options.max_tokens, pass.objective.needs().pairs)) {
    if (stop.stop_requested()) return cancelled();
    const TrainBatch part = slice(batch, range);
    if (part.num_targets() == 0) continue;
    TRY(result, run_micro_batch(pass.models, pass.objective, part, pass.options, pass.old_is_current));
    out.value += result.loss;
    if (out.not_finite.empty()) out.not_finite = std::move(result.not_finite);
    merge_metrics(metrics, result.metrics);
    append(out.logps, result.logps_N);
    append(out.reference_logps, result.reference_logps_N);
  }
  if (stop.stop_requested()) return cancelled();
  return out;
}

}  // namespace fulcrum
