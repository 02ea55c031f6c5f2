// Our values to and from the wire, one function each way. What comes from the wire is untrusted: sizes and
// enums are checked here, meaning (is this lease yours?) is checked by whoever owns it. Pure, thread-safe.
#pragma once

#include <grpcpp/support/status.h>

#include "engine/core/status.h"
#include "engine/types/rollout.h"
#include "engine/types/verdict.h"
#include "fulcrum/v1/common.pb.h"
#include "fulcrum/v1/reward.pb.h"
#include "fulcrum/v1/rollout.pb.h"

namespace fulcrum {

// The codes are the same numbers. Messages cross as one line of valid UTF-8.
grpc::Status to_grpc(const Status& status);
// gRPC's "Stream removed" (UNKNOWN) is what a dying server looks like: it becomes kUnavailable.
Status from_grpc(const grpc::Status& status);

v1::PolicyVersion to_wire(PolicyVersion version);
PolicyVersion from_wire(const v1::PolicyVersion& version);

v1::SamplingParams to_wire(const SamplingParams& sampling);
SamplingParams from_wire(const v1::SamplingParams& sampling);

// Everything of a request that decides its tokens; the prompt's text and columns stay with the learner.
void request_to_wire(const RolloutRequest& request, v1::Lease& lease);
Result<RolloutRequest> request_from_wire(const v1::Lease& lease);

void completion_to_wire(const Completion& completion, v1::CompletionResult& result);
Result<Completion> completion_from_wire(const v1::CompletionResult& result);

v1::RewardResult to_wire(const Verdict& verdict);
// A score that is not finite, or a scored verdict without a score, is a kFailed verdict that says so.
Verdict from_wire(const v1::RewardResult& result);

}  // namespace fulcrum
