#include "rollout/dispatch/book.h"

#include <algorithm>
#include <utility>

#include "engine/core/hash.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr int kMaxDoublings = 6;

}  // namespace

ItemId item_id(int64_t epoch, const RolloutRequest& request) {
  const std::string key = std::to_string(epoch) + "/" + (request.evaluation ? "eval" : "train") + "/" +
                          std::to_string(request.step) + "/" + std::to_string(request.index);
  return std::stoull(sha256_hex(key).substr(0, 16), nullptr, 16);
}

// Fences of a later epoch are above all of an earlier one, so that no lease given before a restart can match.
Book::Book(BookOptions options, const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      workers_(options_.workers, clock),
      last_fence_(static_cast<uint64_t>(options_.epoch) << 40) {}

Status Book::begin(std::span<const RolloutRequest> requests, PolicyVersion version) {
  if (open_) return failed_precondition("a batch of rollouts is at work already");
  for (size_t i = 0; i < requests.size(); ++i) {
    if (!by_id_.emplace(item_id(options_.epoch, requests[i]), i).second) {
      by_id_.clear();
      return invalid_argument("two rollouts of one batch are for step " + std::to_string(requests[i].step) +
                              ", prompt " + std::to_string(requests[i].index));
    }
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    items_.push_back({.request = requests[i]});
    waiting_.push_back(i);
  }
  version_ = version;
  open_ = true;
  return ok_status();
}

Result<std::vector<RolloutGroup>> Book::take() {
  if (!finished()) return failed_precondition("the batch of rollouts is not finished");
  std::vector<RolloutGroup> results;
  results.reserve(items_.size());
  for (Item& item : items_) results.push_back(std::move(*item.result));
  close();
  return results;
}

std::vector<Revoked> Book::cancel_all() {
  std::vector<size_t> leased;
  for (size_t i = 0; i < items_.size(); ++i) {
    if (items_[i].fence != 0) leased.push_back(i);
  }
  std::vector<Revoked> revoked = revoke(leased);
  close();
  return revoked;
}

void Book::close() {
  items_.clear();
  by_id_.clear();
  waiting_.clear();
  done_ = 0;
  open_ = false;
}

Result<WorkerId> Book::join(const std::string& name, const std::string& fingerprint) {
  return workers_.join(name, fingerprint);
}

std::vector<Lease> Book::assign(WorkerId worker, int64_t capacity) {
  std::vector<Lease> leases;
  Worker* w = workers_.find(worker);
  if (w == nullptr || w->draining) return leases;
  while (w->held < capacity && !waiting_.empty()) {
    Item& item = items_[waiting_.front()];
    waiting_.pop_front();
    item.fence = ++last_fence_;
    item.worker = worker;
    item.deadline = clock_.now() + options_.lease * (1 << std::min(item.times_expired, kMaxDoublings));
    ++w->held;
    leases.push_back({item_id(options_.epoch, item.request), item.fence, &item.request, version_});
  }
  return leases;
}

ResultVerdict Book::complete(WorkerId worker, ItemId item, uint64_t fence, RolloutGroup result) {
  const auto fenced = [&](std::string why) {
    ++totals_.fenced;
    return ResultVerdict{ResultKind::kFenced, std::move(why)};
  };
  Worker* w = workers_.find(worker);
  if (w == nullptr) return fenced("the worker is not registered (any more); register again");
  w->last_seen = clock_.now();
  const auto found = by_id_.find(item);
  if (found == by_id_.end()) return fenced("the request is not of the batch at work");
  const size_t index = found->second;
  Item& entry = items_[index];
  if (entry.result) {
    ++totals_.duplicate;
    return {ResultKind::kDuplicate, "the request has its result already"};
  }
  if (fence == 0 || entry.fence != fence || entry.worker != worker) return fenced("the lease is void");
  if (Status status = check_result(entry.request, version_, result, options_.limits); !status.ok()) {
    return reject(*w, index, status);
  }
  result.prompt = entry.request.prompt;  // the learner's own: nothing a worker says of the prompt is used
  entry.result = std::move(result);
  entry.fence = 0;
  --w->held;
  ++w->accepted;
  ++done_;
  ++totals_.accepted;
  return {ResultKind::kAccepted, ""};
}

ResultVerdict Book::reject(const Worker& worker, size_t index, const Status& why) {
  ++totals_.invalid;
  ResultVerdict verdict{ResultKind::kInvalid,
                        "worker " + in_quotes(worker.name) + " sent a bad result: " + why.message()};
  verdict.quarantined = workers_.count_bad(worker.name);
  if (verdict.quarantined) {
    worker_lost(worker.id);
  } else {
    give_back(index);
  }
  return verdict;
}

Status Book::drain(WorkerId worker) {
  Worker* w = workers_.find(worker);
  if (w == nullptr) return not_found("worker " + std::to_string(worker) + " is not registered");
  w->draining = true;
  return ok_status();
}

void Book::worker_lost(WorkerId worker) {
  (void)revoke(held_by(worker));
  workers_.leave(worker);
}

std::vector<Revoked> Book::expire() {
  std::vector<Revoked> revoked;
  for (const WorkerId id : workers_.silent()) {
    const std::vector<Revoked> lost = revoke(held_by(id));
    revoked.insert(revoked.end(), lost.begin(), lost.end());
    workers_.leave(id);
  }
  std::vector<size_t> late;
  for (size_t i = 0; i < items_.size(); ++i) {
    if (items_[i].fence == 0 || clock_.now() < items_[i].deadline) continue;
    ++items_[i].times_expired;
    ++totals_.expired;
    late.push_back(i);
  }
  const std::vector<Revoked> expired = revoke(late);
  revoked.insert(revoked.end(), expired.begin(), expired.end());
  return revoked;
}

std::vector<size_t> Book::held_by(WorkerId worker) const {
  std::vector<size_t> indices;
  for (size_t i = 0; i < items_.size(); ++i) {
    if (items_[i].fence != 0 && items_[i].worker == worker) indices.push_back(i);
  }
  return indices;
}

std::vector<Revoked> Book::revoke(const std::vector<size_t>& indices) {
  std::vector<Revoked> revoked;
  for (const size_t i : indices) {
    revoked.push_back({items_[i].worker, item_id(options_.epoch, items_[i].request), items_[i].fence});
  }
  // Back to the front of the queue and in their order: the batch waits for them longest.
  std::for_each(indices.rbegin(), indices.rend(), [&](size_t i) { give_back(i); });
  return revoked;
}

void Book::give_back(size_t index) {
  Item& item = items_[index];
  if (Worker* w = workers_.find(item.worker)) --w->held;
  item.fence = 0;
  waiting_.push_front(index);
}

BookCounts Book::counts() const {
  BookCounts counts = totals_;
  counts.waiting = static_cast<int64_t>(waiting_.size());
  counts.done = static_cast<int64_t>(done_);
  counts.leased = static_cast<int64_t>(items_.size()) - counts.waiting - counts.done;
  return counts;
}

}  // namespace fulcrum
