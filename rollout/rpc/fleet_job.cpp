// A job's side of the fleet: publishing weights, handing out a batch of requests, waiting for it.
#include "rollout/rpc/fleet_job.h"

#include <algorithm>
#include <utility>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/publish/delta.h"
#include "engine/rpc/convert.h"
#include "rollout/rpc/fleet.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxLeasesBytes = 1 << 20;
// How often leases are looked at while nothing else happens; also how late a cancel can be.
constexpr std::chrono::milliseconds kTick{200};
constexpr size_t kMostChanges = 16;  // a worker that missed more versions fetches its weights whole
constexpr int kMostFailures = 3;     // without a group in between
constexpr const char* kThen =
    "; it tries again, and the job ends where every worker fails and none gives a result";

std::string name_of(PolicyVersion v) { return std::to_string(v.epoch) + "." + std::to_string(v.step); }

// From `before` to `next`, which was made of `weights`: what came with them, or found by comparing all of
// them. Null: they are better sent whole.
std::shared_ptr<const std::string> delta_of(const WeightImage& before, const WeightSet& weights,
                                            const WeightImage& next) {
  const FlatWeights* flat = weights.flat.get();
  if (flat != nullptr && flat->change && flat->change->base_hash == before.manifest().tensors_hash())
    return flat->change->delta;
  auto found = encode_delta(before.values(), next.values());
  return found ? std::make_shared<const std::string>(*std::move(found)) : nullptr;
}

}  // namespace

Result<std::shared_ptr<GrpcRollout>> Fleet::begin_job(FleetJobOptions options) {
  if (options.tokenizer == nullptr) options.tokenizer = std::make_shared<TokenizerFiles>();
  const std::lock_guard lock(mutex_);
  if (job_) return failed_precondition("the workers are at work for another job");
  BookOptions book{.epoch = ++last_epoch_, .lease = options.lease};
  book.limits.vocab_size = options.vocab_size;
  book.workers.heartbeat = options.heartbeat;
  book.workers.deterministic = options.deterministic;
  book.workers.fingerprint = options.fingerprint;
  job_ = std::make_shared<Job>(std::move(options), std::move(book), clock_);
  for (auto& [id, peer] : peers_) {
    if (const Status status = enlist(peer); !status.ok()) {
      ++counters_["workers_refused"];
      log_warn("rollout: worker " + in_quotes(peer.name) + " is refused: " + status.message());
      peer.link->close(status);
    }
  }
  return std::shared_ptr<GrpcRollout>(new GrpcRollout(*this, job_));
}

void Fleet::end_job(const std::shared_ptr<Job>& job) {
  const std::lock_guard lock(mutex_);
  if (!is_current(job)) return;
  take_back(job->book.cancel_all());
  for (auto& [id, peer] : peers_) peer.in_book = 0;
  job_.reset();
  changed();
}

Status Fleet::publish(const std::shared_ptr<Job>& job, std::shared_ptr<const WeightSet> weights) {
  const PolicyVersion version = weights->version;
  std::unique_lock lock(mutex_);
  const int64_t id = ++last_weights_id_;
  const auto before = job->published.empty() ? nullptr : job->published.back().image;
  lock.unlock();
  std::shared_ptr<const WeightImage> image;
  std::shared_ptr<const std::string> delta;
  if (job->options.dtype == DType::kBF16) {
    TRY(rounded, WeightImage::in_bf16(id, *weights, job->options.tokenizer));
    if (before) delta = delta_of(*before, *weights, *rounded);
    image = std::move(rounded);
  } else {
    image = std::make_shared<const WeightImage>(id, std::move(weights), job->options.tokenizer);
  }
  lock.lock();
  note_change(*job, *image, std::move(delta));
  std::erase_if(job->published, [&](const Published& p) { return p.version == version; });
  job->published.push_back({version, std::move(image)});
  const auto kept = static_cast<size_t>(std::max<int64_t>(job->options.kept_versions, 1));
  while (job->published.size() > kept) job->published.pop_front();
  return ok_status();
}

// Before `image` joins the published ones. Without a delta there is no way to it from any older weights.
void Fleet::note_change(Job& job, const WeightImage& image, std::shared_ptr<const std::string> delta) {
  if (!delta) {
    job.changes.clear();
    return;
  }
  const v1::Manifest& before = job.published.back().image->manifest();
  job.changes.push_back({.from = before.weights_id(),
                         .to = image.manifest().weights_id(),
                         .from_hash = before.tensors_hash(),
                         .delta = std::move(delta)});
  // update() sends no chain of more than half the weights: what cannot be part of one is not kept.
  const auto bytes = [&] {
    size_t sum = 0;
    for (const auto& change : job.changes) sum += change.delta->size();
    return sum;
  };
  while (job.changes.size() > kMostChanges || bytes() > image.values().size_bytes() / 2)
    job.changes.pop_front();
}

Result<std::vector<RolloutGroup>> Fleet::generate(const std::shared_ptr<Job>& job,
                                                  std::span<const RolloutRequest> requests,
                                                  PolicyVersion version, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const auto published = std::find_if(job->published.begin(), job->published.end(),
                                      [&](const Published& p) { return p.version == version; });
  if (published == job->published.end()) {
    return failed_precondition("weights of version " + name_of(version) +
                               " are not here: never published, or older than the versions kept");
  }
  job->weights_id = published->image->manifest().weights_id();
  TRY_DO(job->book.begin(requests, version));
  job->failures = 0;
  job->failed.clear();
  for (auto& [id, peer] : peers_) peer.stalled = false;
  const auto report_waiting = [&](bool waiting) {
    job->waiting = waiting;
    if (!job->options.on_waiting) return;
    lock.unlock();
    job->options.on_waiting(waiting);
    lock.lock();
  };
  const auto report_failures = [&] {
    const std::vector<std::string> untold = std::exchange(job->untold, {});
    if (untold.empty() || !job->options.on_failure) return;
    lock.unlock();
    for (const std::string& what : untold) job->options.on_failure(what + kThen);
    lock.lock();
  };
  while (!job->book.finished()) {
    report_failures();
    if (stop.stop_requested()) {
      take_back(job->book.cancel_all());
      return cancelled();
    }
    if (all_fail(*job)) {
      take_back(job->book.cancel_all());
      return data_loss("every worker fails at this batch; " + job->why_failed);
    }
    drop_silent();
    hand_out();
    const uint64_t seen = changes_;
    if (const bool idle = job->book.workers().empty(); idle != job->waiting) report_waiting(idle);
    changed_.wait_for(lock, stop, kTick, [&] { return changes_ != seen; });
  }
  if (job->waiting) report_waiting(false);
  return job->book.take();
}

// Then it is not the workers: weights that have diverged, or a model that fits no machine. One that fails
// beside others that work costs nothing but its share.
bool Fleet::all_fail(const Job& job) const {
  return job.failures >= kMostFailures && std::none_of(peers_.begin(), peers_.end(), [&](const auto& entry) {
           return entry.second.in_book != 0 && !job.failed.contains(entry.second.name);
         });
}

// Even shares, so that one worker does not sit on the batch while others wait; a worker gets more when half
// of what it may hold is done, so that it always has a batch to generate together.
void Fleet::hand_out() {
  if (!job_) return;
  const BookCounts counts = job_->book.counts();
  if (counts.waiting == 0) return;
  const std::vector<Peer*> peers = takers();
  if (peers.empty()) return;
  const auto workers = static_cast<int64_t>(peers.size());
  const int64_t share = (counts.waiting + counts.leased + workers - 1) / workers;
  for (Peer* peer : peers) {
    const int64_t capacity = std::min(peer->capacity, share);
    const auto held = static_cast<int64_t>(peer->leases.size());
    if (held * 2 <= capacity) lease_to(*peer, capacity);
  }
}

// Who gets leases: a worker that lives but does not finish would take the same request again and again, so
// while others do finish it gets none until the next batch.
std::vector<Fleet::Peer*> Fleet::takers() {
  std::vector<Peer*> all, moving;
  for (auto& [id, peer] : peers_) {
    if (peer.in_book == 0) continue;
    all.push_back(&peer);
    if (!peer.stalled) moving.push_back(&peer);
  }
  return moving.empty() ? all : moving;
}

void Fleet::lease_to(Peer& peer, int64_t capacity) {
  v1::LearnerMessage message;
  size_t bytes = 0;
  for (const Lease& lease : job_->book.assign(peer.in_book, capacity)) {
    v1::Lease wire;
    request_to_wire(*lease.request, wire);
    wire.set_item(lease.item);
    wire.set_fence(lease.fence);
    wire.set_weights_id(job_->weights_id);
    *wire.mutable_version() = to_wire(lease.version);
    const auto generations = static_cast<size_t>(lease.request->num_generations);
    Partial partial{.item = lease.item, .request = *lease.request, .missing = lease.request->num_generations};
    partial.arrived.resize(generations);
    partial.group.index = lease.request->index;
    partial.group.version = lease.version;
    partial.group.completions.resize(generations);
    peer.leases.emplace(lease.fence, std::move(partial));
    bytes += wire.ByteSizeLong();
    if (bytes > kMaxLeasesBytes && message.leases().leases_size() > 0) {
      peer.link->send(std::exchange(message, {}));
      bytes = wire.ByteSizeLong();
    }
    *message.mutable_leases()->add_leases() = std::move(wire);
  }
  if (message.has_leases()) peer.link->send(std::move(message));
}

void Fleet::take_back(const std::vector<Revoked>& revoked) {
  for (auto& [id, peer] : peers_) {
    v1::LearnerMessage message;
    for (const Revoked& r : revoked) {
      if (peer.leases.erase(r.fence) > 0) message.mutable_cancel()->add_fences(r.fence);
    }
    if (message.has_cancel()) peer.link->send(std::move(message));
  }
}

void Fleet::drop_silent() {
  const std::vector<Revoked> revoked = job_->book.expire();
  for (auto& [id, peer] : peers_) {
    peer.stalled = peer.stalled || std::any_of(revoked.begin(), revoked.end(),
                                               [&](const Revoked& r) { return r.worker == peer.in_book; });
  }
  take_back(revoked);
  const std::vector<Worker> known = job_->book.workers();
  for (auto& [id, peer] : peers_) {
    const bool lost = peer.in_book != 0 && std::none_of(known.begin(), known.end(), [&](const Worker& w) {
                        return w.id == peer.in_book;
                      });
    if (!lost) continue;
    log_warn("rollout: worker " + in_quotes(peer.name) + " is silent; its requests go to others");
    peer.in_book = 0;
    peer.leases.clear();
    peer.link->close(unavailable("this worker was silent for too long: register again"));
  }
}

GrpcRollout::~GrpcRollout() { fleet_.end_job(job_); }

Result<std::vector<RolloutGroup>> GrpcRollout::generate(std::span<const RolloutRequest> requests,
                                                        PolicyVersion version, std::stop_token stop) {
  return fleet_.generate(job_, requests, version, std::move(stop));
}

Status GrpcRollout::publish(std::shared_ptr<const WeightSet> weights) {
  return fleet_.publish(job_, std::move(weights));
}

std::optional<int64_t> GrpcRollout::bytes_sent() const { return fleet_.bytes_sent_.load(); }

Result<std::shared_ptr<const TokenizerFiles>> read_tokenizer_files(std::span<const Path> files,
                                                                   const std::string& hash,
                                                                   const std::string& splitter) {
  auto tokenizer = std::make_shared<TokenizerFiles>();
  tokenizer->hash = hash;
  tokenizer->splitter = splitter;
  for (const Path& path : files) {
    TRY(bytes, read_file(path));
    tokenizer->files.emplace_back(path.filename().string(), std::move(bytes));
  }
  if (files.size() == 1) tokenizer->entry = files[0].filename().string();  // it may have been named by file
  return std::shared_ptr<const TokenizerFiles>(std::move(tokenizer));
}

}  // namespace fulcrum
