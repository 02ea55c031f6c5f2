#include "engine/learner/micro_batch.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <optional>

#include "engine/data/slice.h"
#include "engine/objective/masked.h"
#include "policy/nn/head_memory.h"
#include "policy/nn/logit_chunks.h"
#include "policy/nn/target_logps.h"
#include "policy/nn/token_divergences.h"

namespace fulcrum {
namespace {

using torch::autograd::variable_list;

at::Tensor floats(const std::vector<float>& values) {
  return values.empty() ? at::Tensor() : at::tensor(at::ArrayRef<float>(values), at::kFloat);
}

// A part of an output, cut from its graph, on a device: its own unless one is named.
at::Tensor leaf(const at::Tensor& output, int64_t begin, int64_t n, std::optional<at::Device> device = {}) {
  if (!output.defined()) return {};
  const at::Tensor part = output.detach().narrow(0, begin, n);
  return part.to(device.value_or(part.device()), part.scalar_type(), false, /*copy=*/true)
      .set_requires_grad(true);
}

// What the model said must be finite where it enters the loss; otherwise no objective is asked and the
// learner skips the step. Names the row.
Status check_outputs(const LossInput& input) {
  if (input.logps_N.defined()) TRY_DO(check_finite(input, input.logps_N, input.mask_N, "policy's log-prob"));
  if (input.values_N.defined()) TRY_DO(check_finite(input, input.values_N, input.mask_N, "critic's value"));
  if (!input.scores_R.defined()) return ok_status();
  const at::Tensor bad = (~input.scores_R.detach().isfinite()).nonzero();
  if (bad.size(0) == 0) return ok_status();
  const BatchRow& row = input.batch.rows[static_cast<size_t>(bad[0][0].item<int64_t>())];
  return data_loss("the score of an answer of row " + std::to_string(row.prompt_row) +
                   " is not finite: a model that has diverged");
}

// What the models say of a slice below the head, with its graph, and the gradient there, put together from
// the parts of the slice over which the loss is taken: each goes forward and backward through the head before
// the next, so that no logits are made twice.
class SlicePass {
 public:
  SlicePass(const Models& models, const Objective& objective, const TrainBatch& slice,
            const ForwardOptions& options, bool old_is_current)
      : objective_(objective),
        needs_(objective.needs()),
        slice_(slice),
        options_(options),
        old_is_current_(old_is_current),
        memory_(models.head) {
    const at::Tensor hidden_TD = models.policy.hidden(slice);
    if (models.policy.spec().score_head) {
      if (needs_.scores) scores_R_ = scores(last_states(hidden_TD, slice), models.policy.score_weight());
    } else {
      states_ND_ = target_states(hidden_TD, slice);
      const at::Tensor weight_VD = models.policy.output_weight().detach();
      weight_VD_ = computed_in(at::kFloat, states_ND_.detach(), weight_VD).weight_VD;
    }
    if (needs_.values) values_N_ = models.critic->values(hidden_TD, slice);
    if (!needs_.divergence) return;
    const at::NoGradGuard no_gradients;
    reference_ = {target_states(models.reference->hidden(slice), slice), models.reference->output_weight()};
  }

  // The objective's loss on these rows.
  Status add(RowRange rows) {
    const bool whole = rows.begin == 0 && rows.end == slice_.num_rows();
    const TrainBatch cut = whole ? TrainBatch() : fulcrum::slice(slice_, rows);
    const TrainBatch& part = whole ? slice_ : cut;
    const int64_t begin = slice_.rows[static_cast<size_t>(rows.begin)].target_begin, n = part.num_targets();
    at::Tensor entropy_N;
    const at::Tensor states_ND = leaf(states_ND_, begin, n);
    const TokenDivergences said = run_head(states_ND, begin, part, entropy_N);
    logps_.push_back(said.logps_N);
    reference_logps_.push_back(said.reference_logps_N);
    if (!out_.not_finite.empty()) return ok_status();
    const LossInput input = make_input(part, said, begin, rows);
    if (const Status finite = check_outputs(input); !finite.ok()) {
      out_.not_finite = finite.message();
      return ok_status();
    }
    TRY(loss, objective_.loss(input));
    out_.loss += loss.loss.item().toDouble();
    merge_metrics(out_.metrics, loss.metrics);
    if (entropy_N.defined()) {
      const at::Tensor mask_N = input.mask_N.to(at::kFloat);
      add_metric(out_.metrics, "entropy", entropy_N.to(at::kCPU).dot(mask_N).item().toDouble(),
                 mask_N.sum().item().toDouble());
    }
    // No target of the part enters the loss, or nobody wants a gradient.
    if (loss.loss.requires_grad()) backward(loss.loss, input, said, states_ND, begin, rows.begin);
    return ok_status();
  }

  // Through the models' bodies; after the last part.
  MicroBatchResult finish() {
    if (states_ND_.defined()) out_.logps_N = at::cat(logps_).detach().to(at::kCPU);
    if (needs_.divergence) out_.reference_logps_N = at::cat(reference_logps_).to(at::kCPU);
    if (!out_.not_finite.empty()) {
      out_.loss = std::numeric_limits<double>::quiet_NaN();
      return std::move(out_);
    }
    variable_list roots, gradients;
    const auto seed = [&](const at::Tensor& root, const at::Tensor& gradient) {
      if (!gradient.defined()) return;
      roots.push_back(root);
      gradients.push_back(gradient);
    };
    seed(states_ND_, d_states_ND_);
    seed(values_N_, d_values_N_);
    seed(scores_R_, d_scores_R_);
    if (!roots.empty()) torch::autograd::backward(roots, gradients);
    return std::move(out_);
  }

 private:
  TokenDivergences run_head(const at::Tensor& states_ND, int64_t begin, const TrainBatch& part,
                            at::Tensor& entropy_N) {
    if (!states_ND.defined()) return {};
    // A new one each time: its gradient goes to the policy's leaf, and a graph of one part ends here.
    const at::Tensor weight_VD = weight_VD_.detach().set_requires_grad(memory_.weight_gradient != nullptr &&
                                                                       at::GradMode::is_enabled());
    const at::Tensor ids_N = target_ids(part, states_ND.device());
    if (!needs_.divergence) {
      return {.logps_N = token_logps(states_ND, weight_VD, ids_N, options_.temperature, options_.logits_chunk,
                                     needs_.entropy ? &entropy_N : nullptr, &memory_)};
    }
    const Head reference{reference_.hidden_ND.narrow(0, begin, part.num_targets()), reference_.weight_VD};
    return token_divergences({states_ND, weight_VD}, reference, ids_N, objective_.divergence(),
                             options_.temperature, options_.logits_chunk, &memory_);
  }

  // The outputs are cut from the head, too: what goes back through it is the loss's gradient in them,
  // whatever the loss was. The loss itself is always the host's: a few numbers a token, of which a device's
  // many small steps would take longer than the way there and back.
  LossInput make_input(const TrainBatch& part, const TokenDivergences& said, int64_t begin, RowRange rows) {
    const int64_t n = part.num_targets();
    LossInput out(part);
    out.logps_N = leaf(said.logps_N, 0, n, at::kCPU);
    out.divergence_N = leaf(said.divergence_N, 0, n, at::kCPU);
    out.values_N = leaf(values_N_, begin, n, at::kCPU);
    out.scores_R = leaf(scores_R_, rows.begin, rows.end - rows.begin, at::kCPU);
    out.row_N = at::tensor(at::ArrayRef<int64_t>(part.target_row), at::kLong);
    out.mask_N = at::tensor(at::ArrayRef<uint8_t>(part.target_mask), at::kByte).to(at::kBool);
    if (needs_.old_logps) out.old_logps_N = old_is_current_ ? out.logps_N.detach() : floats(part.old_logps);
    if (needs_.reference_logps) out.reference_logps_N = floats(part.reference_logps);
    if (said.reference_logps_N.defined()) out.reference_logps_N = said.reference_logps_N.to(at::kCPU);
    out.sampling_logps_N = floats(part.sampling_logps);
    out.stored_logps_N = floats(part.stored_logps);
    out.old_values_N = floats(part.old_values);
    out.advantages_N = floats(part.advantages);
    out.returns_N = floats(part.returns);
    return out;
  }

  void backward(const at::Tensor& loss, const LossInput& input, const TokenDivergences& said,
                const at::Tensor& states_ND, int64_t begin, int64_t row_begin) {
    variable_list outputs;
    for (const at::Tensor* x : {&input.logps_N, &input.divergence_N, &input.values_N, &input.scores_R})
      if (x->defined()) outputs.push_back(*x);
    const variable_list given =
        torch::autograd::grad({loss}, outputs, {}, false, false, /*allow_unused=*/true);
    variable_list head, head_gradients;
    for (size_t i = 0; i < given.size(); ++i) {
      if (!given[i].defined()) continue;
      const at::Tensor& at = outputs[i];
      if (at.is_same(input.values_N)) put(d_values_N_, values_N_, begin, given[i]);
      if (at.is_same(input.scores_R)) put(d_scores_R_, scores_R_, row_begin, given[i]);
      const bool of_logps = at.is_same(input.logps_N);
      if (!of_logps && !at.is_same(input.divergence_N)) continue;
      head.push_back(of_logps ? said.logps_N : said.divergence_N);
      head_gradients.push_back(given[i].to(said.logps_N.device()));
    }
    if (head.empty()) return;
    torch::autograd::backward(head, head_gradients);
    put(d_states_ND_, states_ND_, begin, states_ND.grad());
  }

  static void put(at::Tensor& whole, const at::Tensor& like, int64_t begin, const at::Tensor& part) {
    if (!whole.defined()) whole = at::zeros_like(like);
    whole.narrow(0, begin, part.size(0)).copy_(part);
  }

  const Objective& objective_;
  const Needs needs_;
  const TrainBatch& slice_;
  const ForwardOptions& options_;
  const bool old_is_current_;
  HeadMemory& memory_;
  at::Tensor states_ND_, values_N_, scores_R_;
  at::Tensor weight_VD_;  // as the head's products read it
  Head reference_;
  at::Tensor d_states_ND_, d_values_N_, d_scores_R_;
  variable_list logps_, reference_logps_;
  MicroBatchResult out_;
};

}  // namespace

Result<MicroBatchResult> run_micro_batch(const Models& models, const Objective& objective,
                                         const TrainBatch& slice, const ForwardOptions& options,
                                         bool old_is_current) {
  SlicePass pass(models, objective, slice, options, old_is_current);
  const int64_t most = models.policy.spec().score_head ? slice.num_targets() : options.logits_chunk;
  for (const RowRange rows : target_ranges(slice, most, objective.needs().pairs)) TRY_DO(pass.add(rows));
  return pass.finish();
}

}  // namespace fulcrum
