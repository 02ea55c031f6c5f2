#include "engine/rpc/worker_service.h"

#include <chrono>
#include <deque>
#include <mutex>
#include <optional>

#include "engine/rpc/reactor.h"

namespace fulcrum {
namespace {

// A worker that does not read is let go before its messages fill the memory.
constexpr size_t kMaxUnsent = 4096;
constexpr std::chrono::seconds kWriteLimit{60};

// Lives until gRPC and the hub have both let go. The mutex is never held while the hub is called: the hub
// calls back.
class WorkStream final : public grpc::ServerBidiReactor<v1::WorkerMessage, v1::LearnerMessage>,
                         public WorkerLink {
 public:
  static WorkStream* start(WorkerHub& hub, grpc::CallbackServerContext* context) {
    auto stream = std::make_shared<WorkStream>(hub, context);
    stream->self_ = stream;
    stream->StartRead(&stream->incoming_);
    return stream.get();
  }
  WorkStream(WorkerHub& hub, grpc::CallbackServerContext* context)
      : hub_(hub), context_(context), peer_(context->peer()) {}

  void send(v1::LearnerMessage message) override {
    const std::lock_guard lock(mutex_);
    if (closing_) return;
    unsent_.push_back(std::move(message));
    if (unsent_.size() > kMaxUnsent)
      return begin_close(resource_exhausted("the worker does not read its messages"));
    write_or_finish();
  }

  void close(Status why) override {
    const std::lock_guard lock(mutex_);
    begin_close(std::move(why));
  }

  std::string peer() const override { return peer_; }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return close(ok_status());
    const grpc::Status status = guarded([&] { return handle(); });
    const std::lock_guard lock(mutex_);
    if (!status.ok()) begin_close(from_grpc(status));
    if (!closing_) StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    unsent_.pop_front();
    if (!ok) begin_close(unavailable("the worker is gone"));
    write_or_finish();
  }

  void OnCancel() override { close(cancelled()); }

  void OnDone() override {
    if (worker_) hub_.left(*worker_);
    self_.reset();  // may delete this
  }

  Status handle() {
    if (worker_) return hub_.received(*worker_, std::move(incoming_));
    if (!incoming_.has_register_()) return invalid_argument("a worker registers first");
    TRY(worker, hub_.joined(incoming_.register_(), self_));
    worker_ = worker;
    return ok_status();
  }

  // Under the mutex. What is being written must stay; a write that hangs is cancelled, for it would hold
  // Finish back.
  void begin_close(Status why) {
    if (writing_ && std::chrono::steady_clock::now() - write_began_ > kWriteLimit) context_->TryCancel();
    if (closing_) return;
    closing_ = true;
    status_ = std::move(why);
    unsent_.resize(writing_ ? 1 : 0);
    write_or_finish();
  }

  // Under the mutex: one write at a time, one Finish ever.
  void write_or_finish() {
    if (writing_ || finished_) return;
    if (closing_) {
      finished_ = true;
      Finish(to_grpc(status_));
    } else if (!unsent_.empty()) {
      writing_ = true;
      write_began_ = std::chrono::steady_clock::now();
      StartWrite(&unsent_.front());
    }
  }

  WorkerHub& hub_;
  grpc::CallbackServerContext* context_;
  const std::string peer_;
  std::shared_ptr<WorkStream> self_;
  std::optional<int64_t> worker_;  // touched in reactions of the read side only, and after all of them
  v1::WorkerMessage incoming_;

  std::mutex mutex_;
  std::deque<v1::LearnerMessage> unsent_;  // the front is being written while writing_
  std::chrono::steady_clock::time_point write_began_;
  Status status_;
  bool writing_ = false, closing_ = false, finished_ = false;
};

}  // namespace

grpc::ServerBidiReactor<v1::WorkerMessage, v1::LearnerMessage>* WorkerServiceServer::Work(
    grpc::CallbackServerContext* context) {
  return WorkStream::start(hub_, context);
}

}  // namespace fulcrum
