#include "rollout/rpc/worker_session.h"

#include <algorithm>
#include <exception>
#include <thread>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/rpc/convert.h"

namespace fulcrum {
namespace {

constexpr size_t kModels = 2;
constexpr Duration kShortestHeartbeat = std::chrono::milliseconds(50);
constexpr Duration kLongestHeartbeat = std::chrono::seconds(60);

}  // namespace

Result<std::shared_ptr<WorkerModel>> WorkerModels::get(const Connection& learner, int64_t weights_id,
                                                       std::stop_token stop) {
  for (const auto& [id, model] : models_) {
    if (id == weights_id) return model;
  }
  TRY(fetched, fetch_weights(learner, weights_id, tokenizer_hash_, std::move(stop), held_));
  while (models_.size() >= kModels) models_.pop_front();  // before the new one takes its memory
  TRY(model, factory_(fetched.weights, fetched.tokenizer));
  tokenizer_hash_ = fetched.tokenizer.hash;
  models_.emplace_back(weights_id, model);
  return model;
}

Status WorkerSession::run(std::stop_token stop, bool patient) {
  learner_.prepare(context_, Deadline::never());
  context_.set_wait_for_ready(patient);
  const std::stop_callback cancel(stop, [&] { context_.TryCancel(); });
  const auto stub = v1::WorkerService::NewStub(learner_.channel());
  stream_ = stub->Work(&context_);
  const Status hello = introduce();
  if (hello.ok()) {
    registered_ = true;
    const std::jthread writer([this](std::stop_token s) { write_loop(s); });
    const std::jthread generator([this](std::stop_token s) { generate_loop(s); });
    v1::LearnerMessage message;
    while (stream_->Read(&message)) read(std::move(message));
  } else if (hello.code() == Code::kInternal) {
    context_.TryCancel();  // the stream is open, but not with a learner
  }
  const Status end = learner_.status(stream_->Finish());
  if (stop.stop_requested()) return cancelled();
  if (!failure_.ok()) return failure_;
  if (!end.ok()) return end;
  return hello.ok() ? unavailable("the learner has ended the stream") : hello;
}

Status WorkerSession::introduce() {
  v1::WorkerMessage message;
  message.mutable_register_()->set_name(to_valid_utf8(options_.name));
  message.mutable_register_()->set_fingerprint(to_valid_utf8(options_.fingerprint));
  message.mutable_register_()->set_bf16_fingerprint(to_valid_utf8(options_.bf16_fingerprint));
  message.mutable_register_()->set_capacity(options_.capacity);
  v1::LearnerMessage answer;
  if (!stream_->Write(message) || !stream_->Read(&answer))
    return unavailable("the learner did not take the worker in");
  if (!answer.has_registered()) return internal_error("the learner's first message is not the registration");
  heartbeat_ = std::clamp<Duration>(std::chrono::milliseconds(answer.registered().heartbeat_ms()),
                                    kShortestHeartbeat, kLongestHeartbeat);
  return ok_status();
}

void WorkerSession::read(v1::LearnerMessage message) {
  const std::lock_guard lock(mutex_);
  if (message.has_leases()) {
    for (v1::Lease& lease : *message.mutable_leases()->mutable_leases()) waiting_.push_back(std::move(lease));
  }
  for (const uint64_t fence : message.cancel().fences()) {
    std::erase_if(waiting_, [&](const v1::Lease& lease) { return lease.fence() == fence; });
    if (at_work_.erase(fence) > 0 && at_work_.empty()) batch_stop_.request_stop();
  }
  changed_.notify_all();
}

// Ends when the stream is broken (the reader notices too) or after a failure was told.
void WorkerSession::write_loop(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, heartbeat_, [&] { return !unsent_.empty(); });
    if (stop.stop_requested()) return;
    v1::WorkerMessage message;
    if (unsent_.empty()) {
      message.mutable_heartbeat()->set_weights_id(weights_id_);
    } else {
      message = std::move(unsent_.front());
      unsent_.pop_front();
    }
    lock.unlock();
    if (!stream_->Write(message)) return;
    if (message.has_failure()) {
      stream_->WritesDone();
      return;
    }
  }
}

void WorkerSession::generate_loop(std::stop_token stop) {
  for (;;) {
    const std::vector<v1::Lease> batch = next_batch(stop);
    if (batch.empty()) return;
    Status status;
    try {
      status = generate(batch, stop);
    } catch (const std::exception& e) {
      status = internal_error("generation failed: " + printable(e.what()));
    }
    if (stop.stop_requested()) return;
    if (!status.ok() && status.code() != Code::kCancelled) return fail(status);
  }
}

// The leases at the front that share their weights; empty: stopped. Marks them as being worked on.
std::vector<v1::Lease> WorkerSession::next_batch(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  at_work_.clear();
  std::vector<v1::Lease> batch;
  if (!changed_.wait(lock, stop, [&] { return !waiting_.empty(); })) return batch;
  const int64_t weights_id = waiting_.front().weights_id();
  while (!waiting_.empty() && waiting_.front().weights_id() == weights_id) {
    at_work_.insert(waiting_.front().fence());
    batch.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  batch_stop_ = std::stop_source();
  return batch;
}

Status WorkerSession::generate(const std::vector<v1::Lease>& batch, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  std::stop_source batch_stop = batch_stop_;
  lock.unlock();
  const std::stop_callback chain(stop, [&] { batch_stop.request_stop(); });
  std::vector<RolloutRequest> requests;
  for (const v1::Lease& lease : batch) {
    TRY(request, request_from_wire(lease));
    requests.push_back(std::move(request));
  }
  TRY(model, models_.get(learner_, batch[0].weights_id(), batch_stop.get_token()));
  lock.lock();
  weights_id_ = batch[0].weights_id();
  lock.unlock();
  return model->generate(requests, from_wire(batch[0].version()), batch_stop.get_token(),
                         [&](size_t i, const RolloutGroup& group) { send_group(batch[i], group); });
}

void WorkerSession::send_group(const v1::Lease& lease, const RolloutGroup& group) {
  const std::lock_guard lock(mutex_);
  if (at_work_.erase(lease.fence()) == 0) return;  // cancelled meanwhile
  for (size_t g = 0; g < group.completions.size(); ++g) {
    v1::CompletionResult& result = *unsent_.emplace_back().mutable_completion();
    result.set_item(lease.item());
    result.set_fence(lease.fence());
    result.set_generation(static_cast<int64_t>(g));
    *result.mutable_version() = to_wire(group.version);
    completion_to_wire(group.completions[g], result);
  }
  changed_.notify_all();
}

void WorkerSession::fail(const Status& why) {
  const std::lock_guard lock(mutex_);
  failure_ = why;
  unsent_.emplace_back().mutable_failure()->set_reason(why.message());
  changed_.notify_all();
}

}  // namespace fulcrum
