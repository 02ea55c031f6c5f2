#include "rollout/rpc/fleet.h"

#include <random>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/rpc/convert.h"

namespace fulcrum {
namespace {

constexpr size_t kMaxNameBytes = 200;
constexpr size_t kMaxFingerprintBytes = 1000;
constexpr int64_t kMaxCapacity = 1024;
constexpr size_t kMaxFailuresTold = 100;  // of a job: a worker may give a new reason each time

// Numbers that must differ from those of the learner process before this one start anywhere.
int64_t random_start(int bits) {
  std::random_device device;
  return static_cast<int64_t>((uint64_t{device()} << 32 | device()) >> (64 - bits));
}

Status check_hello(const v1::Register& hello) {
  if (hello.name().empty() || hello.name().size() > kMaxNameBytes ||
      std::max(hello.fingerprint().size(), hello.bf16_fingerprint().size()) > kMaxFingerprintBytes) {
    return invalid_argument("a worker's name has 1 to 200 bytes, a fingerprint at most 1000");
  }
  if (hello.capacity() < 1) return invalid_argument("a worker's capacity is at least 1");
  return ok_status();
}

// The text must be what the tokens spell: judges look at the one, the learner trains on the others.
Status check_alone(const Completion& completion, const SamplingParams& sampling,
                   const FleetJobOptions& options) {
  TRY_DO(check_completion(completion, sampling, {.vocab_size = options.vocab_size}));
  if (options.text_of && options.text_of(completion.ids) != completion.text)
    return invalid_argument("its text is not what its tokens spell");
  return ok_status();
}

}  // namespace

Fleet::Fleet(const Clock& clock)
    : clock_(clock), last_epoch_(random_start(22)), last_weights_id_(random_start(61)) {
  for (const char* name : {"workers_joined", "workers_refused", "results_accepted", "results_duplicate",
                           "results_fenced", "results_invalid", "messages_refused"}) {
    counters_[name] = 0;
  }
}

Fleet::~Fleet() = default;

Result<int64_t> Fleet::joined(const v1::Register& hello, std::shared_ptr<WorkerLink> link) {
  const std::lock_guard lock(mutex_);
  Peer peer;
  peer.link = link;
  peer.name = hello.name();
  peer.fingerprint = hello.fingerprint();
  peer.bf16_fingerprint = hello.bf16_fingerprint();
  peer.capacity = std::min(hello.capacity(), kMaxCapacity);
  peer.last_heard = clock_.now();
  Status status = check_hello(hello);
  if (status.ok()) status = enlist(peer);
  if (!status.ok()) {
    ++counters_["workers_refused"];
    log_warn("rollout: worker " + in_quotes(hello.name()) + " is refused: " + status.message());
    return status;
  }
  const int64_t id = ++last_peer_;
  log_info("rollout: worker " + in_quotes(peer.name) + " joins from " + printable(link->peer()));
  ++counters_["workers_joined"];
  peers_.emplace(id, std::move(peer));
  v1::LearnerMessage welcome;
  welcome.mutable_registered()->set_worker_id(id);
  const Duration silence = job_ ? job_->options.heartbeat : FleetJobOptions().heartbeat;
  welcome.mutable_registered()->set_heartbeat_ms(
      std::chrono::duration_cast<std::chrono::milliseconds>(silence / 3).count());
  link->send(std::move(welcome));
  hand_out();
  changed();
  return id;
}

Status Fleet::enlist(Peer& peer) {
  peer.in_book = 0;
  if (!job_) return ok_status();
  const bool in_bf16 = job_->options.dtype == DType::kBF16;
  TRY(id, job_->book.join(peer.name, in_bf16 ? peer.bf16_fingerprint : peer.fingerprint));
  peer.in_book = id;
  return ok_status();
}

Status Fleet::received(int64_t worker, v1::WorkerMessage message) {
  std::unique_lock lock(mutex_);
  const auto found = peers_.find(worker);
  if (found == peers_.end()) return unavailable("this worker is not registered: register again");
  Peer& peer = found->second;
  peer.last_heard = clock_.now();
  if (job_ && !job_->book.heartbeat(peer.in_book).ok()) {
    return unavailable("this worker was silent for too long: register again");
  }
  switch (message.message_case()) {
    case v1::WorkerMessage::kCompletion:
      return on_completion(lock, worker, message.completion());
    case v1::WorkerMessage::kHeartbeat:
      peer.weights_id = message.heartbeat().weights_id();
      return ok_status();
    case v1::WorkerMessage::kFailure:
      on_failure(peer, printable(message.failure().reason(), 1000));
      return ok_status();
    case v1::WorkerMessage::kRegister:
      ++counters_["messages_refused"];
      return invalid_argument("a worker registers once");
    case v1::WorkerMessage::MESSAGE_NOT_SET:
      break;
  }
  ++counters_["messages_refused"];
  return invalid_argument("a message without content");
}

void Fleet::left(int64_t worker) {
  const std::lock_guard lock(mutex_);
  const auto found = peers_.find(worker);
  if (found == peers_.end()) return;
  log_info("rollout: worker " + in_quotes(found->second.name) + " has left");
  if (job_) job_->book.worker_lost(found->second.in_book);
  peers_.erase(found);
  hand_out();
  changed();
}

void Fleet::on_failure(const Peer& peer, const std::string& reason) {
  log_warn("rollout: worker " + in_quotes(peer.name) + " leaves: " + reason);
  if (!job_ || peer.in_book == 0) return;
  ++job_->failures;
  job_->failed.insert(peer.name);
  job_->why_failed = "worker " + in_quotes(peer.name) + ": " + reason;
  const bool room = job_->failures_seen.size() < kMaxFailuresTold;
  if (room && job_->failures_seen.insert(job_->why_failed).second) job_->untold.push_back(job_->why_failed);
  changed();
}

// The lease a completion is of; null if its worker does not hold it (any more).
Fleet::Partial* Fleet::partial_of(int64_t worker, const v1::CompletionResult& result) {
  const auto peer = peers_.find(worker);
  if (peer == peers_.end()) return nullptr;
  const auto lease = peer->second.leases.find(result.fence());
  return lease == peer->second.leases.end() || lease->second.item != result.item() ? nullptr : &lease->second;
}

// Completions of a lease are put together here. What does not belong to one is dropped and counted; what
// cannot be of a good group makes the group bad at once, so that nothing larger than what was asked for is
// ever kept.
Status Fleet::on_completion(std::unique_lock<std::mutex>& lock, int64_t worker,
                            const v1::CompletionResult& result) {
  const auto fenced = [&] {
    ++counters_["results_fenced"];
    return ok_status();
  };
  Partial* partial = partial_of(worker, result);
  if (partial == nullptr) return fenced();
  Result<Completion> completion = completion_for(*partial, result);
  if (completion.ok()) {
    // To decode takes long, and the others go on meanwhile: the lease may be gone afterwards.
    const std::shared_ptr<Job> job = job_;
    const SamplingParams sampling = partial->request.sampling;
    lock.unlock();
    Status alone = check_alone(*completion, sampling, job->options);
    lock.lock();
    partial = partial_of(worker, result);
    if (partial == nullptr) return fenced();
    if (!alone.ok()) completion = alone.with_context("completion " + std::to_string(result.generation()));
  }
  Peer& peer = peers_.at(worker);
  if (!completion.ok()) {
    partial->group.completions.clear();  // which the book refuses
    return on_group(peer, result.fence(), completion.status());
  }
  const auto g = static_cast<size_t>(result.generation());
  partial->arrived[g] = true;
  partial->group.completions[g] = std::move(completion).value();
  return --partial->missing > 0 ? ok_status() : on_group(peer, result.fence());
}

// What can be seen of one completion alone, before it is kept; the book looks at the group.
Result<Completion> Fleet::completion_for(const Partial& partial, const v1::CompletionResult& result) {
  if (result.generation() < 0 || result.generation() >= static_cast<int64_t>(partial.arrived.size()) ||
      partial.arrived[static_cast<size_t>(result.generation())]) {
    return invalid_argument("completion " + std::to_string(result.generation()) +
                            " was not asked for or came before");
  }
  if (result.ids_size() > partial.request.sampling.max_completion_length) {
    return invalid_argument("a completion has more tokens than were asked for");
  }
  if (from_wire(result.version()) != partial.group.version)
    return invalid_argument("it was drawn by other weights");
  return completion_from_wire(result);
}

Status Fleet::on_group(Peer& peer, uint64_t fence, const Status& seen) {
  auto node = peer.leases.extract(fence);
  Partial& partial = node.mapped();
  const ResultVerdict verdict =
      job_->book.complete(peer.in_book, partial.item, fence, std::move(partial.group));
  const std::string why = seen.ok() ? verdict.why : "worker " + in_quotes(peer.name) + ": " + seen.message();
  switch (verdict.kind) {
    case ResultKind::kAccepted:
      ++counters_["results_accepted"];
      ++peer.completed;
      job_->failures = 0;
      job_->failed.clear();
      break;
    case ResultKind::kDuplicate:
      ++counters_["results_duplicate"];
      break;
    case ResultKind::kFenced:
      ++counters_["results_fenced"];
      break;
    case ResultKind::kInvalid:
      ++counters_["results_invalid"];
      ++peer.bad;
      log_warn("rollout: " + why);
      break;
  }
  if (verdict.quarantined) {  // the book has let go of it already
    peer.in_book = 0;
    peer.leases.clear();
  }
  hand_out();
  changed();
  if (!verdict.quarantined) return ok_status();
  return {Code::kPermissionDenied, "this worker has sent too many bad results: " + why};
}

std::vector<v1::WorkerInfo> Fleet::workers() const {
  const std::lock_guard lock(mutex_);
  std::vector<v1::WorkerInfo> all;
  for (const auto& [id, peer] : peers_) {
    v1::WorkerInfo& info = all.emplace_back();
    info.set_id(id);
    info.set_name(to_valid_utf8(peer.name));
    info.set_fingerprint(to_valid_utf8(peer.fingerprint));
    info.set_capacity(peer.capacity);
    info.set_leases(static_cast<int64_t>(peer.leases.size()));
    info.set_completed_groups(peer.completed);
    info.set_bad_results(peer.bad);
    info.set_seconds_since_heard(static_cast<int64_t>(seconds(clock_.now() - peer.last_heard)));
    info.set_weights_id(peer.weights_id);
    info.set_peer(peer.link->peer());
  }
  return all;
}

std::map<std::string, int64_t> Fleet::counters() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, int64_t> all = counters_;
  all["workers_connected"] = static_cast<int64_t>(peers_.size());
  all["weight_bytes_sent"] = bytes_sent_;
  if (job_) {
    const BookCounts counts = job_->book.counts();
    all["requests_waiting"] = counts.waiting;
    all["requests_leased"] = counts.leased;
    all["leases_expired"] = counts.expired;
  }
  return all;
}

std::shared_ptr<const WeightImage> Fleet::image(int64_t weights_id) const {
  const std::lock_guard lock(mutex_);
  if (!job_ || job_->published.empty()) return nullptr;
  if (weights_id == 0) return job_->published.back().image;
  for (const Published& p : job_->published) {
    if (p.image->manifest().weights_id() == weights_id) return p.image;
  }
  return nullptr;
}

std::shared_ptr<const WeightUpdate> Fleet::update(int64_t base, int64_t weights_id) const {
  std::vector<std::shared_ptr<const std::string>> deltas;
  uint64_t base_hash = 0;
  size_t bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!job_ || job_->published.empty()) return nullptr;
    const size_t whole = job_->published.back().image->values().size_bytes();
    int64_t at = base;
    for (const Change& change : job_->changes) {
      if (at == weights_id) break;
      if (change.from != at) continue;
      if (at == base) base_hash = change.from_hash;
      deltas.push_back(change.delta);
      bytes += change.delta->size();
      at = change.to;
    }
    if (deltas.empty() || at != weights_id || bytes > whole / 2) return nullptr;
  }
  return std::make_shared<WeightUpdate>(base, base_hash, deltas);
}

void Fleet::changed() {
  ++changes_;
  changed_.notify_all();
}

}  // namespace fulcrum
