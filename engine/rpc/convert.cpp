#include "engine/rpc/convert.h"

#include <cmath>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxErrorBytes = 2000;  // travels in HTTP/2 trailers, whose limit is 8 KiB
constexpr size_t kMaxReasonBytes = 500;
constexpr int64_t kMaxGenerations = 1 << 20;

v1::FinishReason to_wire(FinishReason finish) {
  return finish == FinishReason::kStop ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH;
}

VerdictKind kind_from_wire(const v1::RewardResult& result) {
  switch (result.verdict()) {
    case v1::VERDICT_UNSPECIFIED:
      return result.has_score() ? VerdictKind::kScored : VerdictKind::kNoAnswer;
    case v1::VERDICT_SCORED:
      return VerdictKind::kScored;
    case v1::VERDICT_NO_ANSWER:
      return VerdictKind::kNoAnswer;
    case v1::VERDICT_BAD_REFERENCE:
      return VerdictKind::kBadReference;
    case v1::VERDICT_TIMEOUT:
      return VerdictKind::kTimeout;
    default:
      return VerdictKind::kFailed;
  }
}

v1::Verdict kind_to_wire(VerdictKind kind) {
  switch (kind) {
    case VerdictKind::kScored:
      return v1::VERDICT_SCORED;
    case VerdictKind::kNoAnswer:
      return v1::VERDICT_NO_ANSWER;
    case VerdictKind::kBadReference:
      return v1::VERDICT_BAD_REFERENCE;
    case VerdictKind::kTimeout:
      return v1::VERDICT_TIMEOUT;
    case VerdictKind::kFailed:
      return v1::VERDICT_FAILED;
  }
  return v1::VERDICT_FAILED;
}

Verdict failed(std::string reason) { return {std::nullopt, VerdictKind::kFailed, std::move(reason), {}}; }

}  // namespace

grpc::Status to_grpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), printable(status.message(), kMaxErrorBytes)};
}

Status from_grpc(const grpc::Status& status) {
  if (status.ok()) return ok_status();
  const int number = status.error_code();
  Code code = number >= 0 && number <= static_cast<int>(Code::kUnauthenticated) ? static_cast<Code>(number)
                                                                                : Code::kUnknown;
  if (code == Code::kUnknown && status.error_message() == "Stream removed") code = Code::kUnavailable;
  return {code, printable(status.error_message(), kMaxErrorBytes)};
}

v1::PolicyVersion to_wire(PolicyVersion version) {
  v1::PolicyVersion wire;
  wire.set_epoch(version.epoch);
  wire.set_step(version.step);
  return wire;
}

PolicyVersion from_wire(const v1::PolicyVersion& version) { return {version.epoch(), version.step()}; }

v1::SamplingParams to_wire(const SamplingParams& sampling) {
  v1::SamplingParams wire;
  wire.set_temperature(sampling.temperature);
  wire.set_top_k(sampling.top_k);
  wire.set_top_p(sampling.top_p);
  wire.set_min_p(sampling.min_p);
  wire.set_max_completion_length(sampling.max_completion_length);
  for (const std::string& stop : sampling.stop) wire.add_stop(stop);
  wire.mutable_stop_ids()->Add(sampling.stop_ids.begin(), sampling.stop_ids.end());
  return wire;
}

SamplingParams from_wire(const v1::SamplingParams& sampling) {
  return {.temperature = sampling.temperature(),
          .top_k = sampling.top_k(),
          .top_p = sampling.top_p(),
          .min_p = sampling.min_p(),
          .max_completion_length = sampling.max_completion_length(),
          .stop = {sampling.stop().begin(), sampling.stop().end()},
          .stop_ids = {sampling.stop_ids().begin(), sampling.stop_ids().end()}};
}

void request_to_wire(const RolloutRequest& request, v1::Lease& lease) {
  lease.set_seed(request.seed);
  lease.set_evaluation(request.evaluation);
  lease.set_step(request.step);
  lease.set_index(request.index);
  lease.set_row(request.prompt.row);
  lease.mutable_prompt_ids()->Add(request.prompt.ids.begin(), request.prompt.ids.end());
  lease.set_num_generations(request.num_generations);
  *lease.mutable_sampling() = to_wire(request.sampling);
}

Result<RolloutRequest> request_from_wire(const v1::Lease& lease) {
  if (lease.num_generations() < 1 || lease.num_generations() > kMaxGenerations) {
    return invalid_argument("a lease asks for " + std::to_string(lease.num_generations()) + " completions");
  }
  if (lease.prompt_ids().empty()) return invalid_argument("a lease has an empty prompt");
  RolloutRequest request;
  request.seed = lease.seed();
  request.evaluation = lease.evaluation();
  request.step = lease.step();
  request.index = lease.index();
  request.prompt.row = lease.row();
  request.prompt.ids.assign(lease.prompt_ids().begin(), lease.prompt_ids().end());
  request.num_generations = lease.num_generations();
  request.sampling = from_wire(lease.sampling());
  return request;
}

void completion_to_wire(const Completion& completion, v1::CompletionResult& result) {
  result.mutable_ids()->Add(completion.ids.begin(), completion.ids.end());
  result.mutable_logps()->Add(completion.logps.begin(), completion.logps.end());
  result.set_text(completion.text);
  result.set_finish(to_wire(completion.finish));
}

Result<Completion> completion_from_wire(const v1::CompletionResult& result) {
  Completion completion;
  if (result.finish() == v1::FINISH_REASON_STOP) {
    completion.finish = FinishReason::kStop;
  } else if (result.finish() == v1::FINISH_REASON_LENGTH) {
    completion.finish = FinishReason::kLength;
  } else {
    return invalid_argument("unknown finish reason " + std::to_string(result.finish()));
  }
  completion.ids.assign(result.ids().begin(), result.ids().end());
  completion.logps.assign(result.logps().begin(), result.logps().end());
  completion.text = result.text();
  return completion;
}

v1::RewardResult to_wire(const Verdict& verdict) {
  v1::RewardResult wire;
  if (verdict.score) wire.set_score(*verdict.score);
  wire.set_verdict(kind_to_wire(verdict.kind));
  wire.set_reason(printable(verdict.reason, kMaxReasonBytes));
  for (const auto& [name, score] : verdict.parts) (*wire.mutable_parts())[printable(name)] = score;
  return wire;
}

Verdict from_wire(const v1::RewardResult& result) {
  Verdict verdict;
  verdict.kind = kind_from_wire(result);
  verdict.reason = printable(result.reason(), kMaxReasonBytes);
  if (result.has_score() && !std::isfinite(result.score()))
    return failed("the reward service answered a score that is not finite");
  if (verdict.kind == VerdictKind::kScored && !result.has_score())
    return failed("the reward service said scored and gave no score");
  if (result.has_score() &&
      (verdict.kind == VerdictKind::kScored || verdict.kind == VerdictKind::kNoAnswer)) {
    verdict.score = result.score();
  }
  for (const auto& [name, score] : result.parts()) {
    if (std::isfinite(score)) verdict.parts[printable(name)] = score;
  }
  return verdict;
}

}  // namespace fulcrum
