#include "reward/rpc/service_reward.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "engine/core/text.h"
#include "engine/rpc/convert.h"
#include "engine/rpc/limits.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxBatchBytes = kMaxMessageBytes / 2;

v1::RewardItem item_to_wire(const RewardRequest& request) {
  v1::RewardItem item;  // strings on the wire are UTF-8; a completion may end inside a character
  item.set_prompt(to_valid_utf8(request.prompt));
  item.set_completion(to_valid_utf8(request.completion));
  item.set_columns_json(request.columns == nullptr ? "{}" : dump_json(*request.columns));
  item.set_num_tokens(request.num_tokens);
  item.set_truncated(request.truncated);
  return item;
}

// Sleeps, but not through a stop request. False: stopped.
bool pause_for(Duration time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, time, [] { return false; });
  return !stop.stop_requested();
}

Verdict verdict_of(const Status& status) {
  const bool late = status.code() == Code::kDeadlineExceeded || status.code() == Code::kCancelled;
  return {std::nullopt,
          late ? VerdictKind::kTimeout : VerdictKind::kFailed,
          "reward service: " + status.message(),
          {}};
}

}  // namespace

ServiceReward::ServiceReward(Connection connection, ServiceRewardOptions options)
    : connection_(std::move(connection)),
      options_(std::move(options)),
      stub_(v1::RewardService::NewStub(connection_.channel())) {}

std::vector<Verdict> ServiceReward::score(std::span<const RewardRequest> requests, Deadline deadline,
                                          std::stop_token stop) const {
  std::vector<Verdict> verdicts;
  verdicts.reserve(requests.size());
  while (verdicts.size() < requests.size()) {
    score_batch(requests.subspan(verdicts.size()), deadline, stop, verdicts);
  }
  return verdicts;
}

// Takes as many of the requests as one message holds, at least one, and appends their verdicts.
void ServiceReward::score_batch(std::span<const RewardRequest> requests, Deadline deadline,
                                std::stop_token stop, std::vector<Verdict>& verdicts) const {
  v1::ScoreRequest request;
  request.set_reward(options_.reward);
  size_t bytes = 0;
  for (const RewardRequest& r : requests.first(std::min(requests.size(), options_.max_batch))) {
    v1::RewardItem item = item_to_wire(r);
    bytes += item.ByteSizeLong();
    if (bytes > kMaxBatchBytes && request.items_size() > 0) break;
    *request.add_items() = std::move(item);
  }
  const auto count = static_cast<size_t>(request.items_size());
  v1::ScoreResponse response;
  Status status = call(request, {std::min(deadline.at, Deadline::in(options_.timeout).at)}, stop, response);
  if (status.ok() && static_cast<size_t>(response.results_size()) != count) {
    status = internal_error("asked for " + std::to_string(count) + " verdicts, got " +
                            std::to_string(response.results_size()));
  }
  for (size_t i = 0; i < count; ++i) {
    verdicts.push_back(status.ok() ? from_wire(response.results(static_cast<int>(i))) : verdict_of(status));
  }
}

Status ServiceReward::call(const v1::ScoreRequest& request, Deadline deadline, std::stop_token stop,
                           v1::ScoreResponse& response) const {
  Duration backoff = options_.first_backoff;
  for (int attempt = 1;; ++attempt) {
    if (stop.stop_requested()) return cancelled();
    if (deadline.passed()) return deadline_exceeded("no answer in time");
    grpc::ClientContext context;
    connection_.prepare(context, deadline);
    const std::stop_callback cancel(stop, [&] { context.TryCancel(); });
    const Status status = connection_.status(stub_->Score(&context, request, &response));
    if (status.code() != Code::kUnavailable || attempt >= options_.attempts) return status;
    if (!pause_for(std::min(backoff, deadline.at - system_clock().now()), stop)) return cancelled();
    backoff *= 2;
  }
}

JudgeFactory service_reward_factory(ClientOptions credentials) {
  return [credentials](const RewardConfig& config) -> Result<std::unique_ptr<RewardFunction>> {
    ClientOptions client = credentials;
    client.address = config.address;
    TRY(connection, Connection::open(client));
    ServiceRewardOptions options;
    options.timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(config.timeout_s));
    return std::unique_ptr<RewardFunction>(new ServiceReward(std::move(connection), std::move(options)));
  };
}

}  // namespace fulcrum
