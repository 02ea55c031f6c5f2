// The rules of gRPC's callback API, kept in one place so that no service repeats them: exactly one Finish a
// call (else shutting down never returns), one write in flight, no blocking in a reaction, a watchdog for
// writes that never complete, no exception out of a handler. A handler is a plain function on a thread of its
// own (call_threads.h).
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>

#include "engine/core/log.h"
#include "engine/core/status.h"
#include "engine/core/text.h"
#include "engine/rpc/call_threads.h"
#include "engine/rpc/convert.h"

namespace fulcrum {

// Runs a handler; an exception becomes INTERNAL and a log line.
template <class Handler>
grpc::Status guarded(Handler&& handler) noexcept {
  try {
    return to_grpc(handler());
  } catch (const std::exception& e) {
    log_error("rpc: a handler threw: " + printable(e.what()));
  } catch (...) {
    log_error("rpc: a handler threw something unknown");
  }
  return {grpc::StatusCode::INTERNAL, "the server failed on this call; its log says how"};
}

inline grpc::Status too_busy() {
  return to_grpc(resource_exhausted("the server is busy with other calls: try again"));
}

// A unary call, kept until gRPC is done with it.
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  // Requested when the client has gone, its deadline has passed or the server shuts down.
  std::stop_token stop() const { return stop_.get_token(); }

 private:
  void OnCancel() override { stop_.request_stop(); }
  void OnDone() override { delete this; }
  std::stop_source stop_;
};

// Answers a unary call: `handler` is (stop_token) -> Result<Response>, and may block.
template <class Response, class Handler>
grpc::ServerUnaryReactor* answer(CallThreads& threads, Response* response, Handler handler) {
  auto* call = new UnaryCall;  // deletes itself in OnDone, as gRPC asks
  const bool started = threads.run([call, response, handler = std::move(handler)] {
    call->Finish(guarded([&]() -> Status {
      TRY(value, handler(call->stop()));
      *response = std::move(value);
      return ok_status();
    }));
  });
  if (!started) call->Finish(too_busy());
  return call;
}

// What the handler of a server stream writes to.
template <class Message>
class StreamWriter final : public grpc::ServerWriteReactor<Message> {
 public:
  explicit StreamWriter(grpc::CallbackServerContext* context) : context_(context) {}

  // Blocks until the transport has taken the message, which is the back-pressure. False: the peer is gone,
  // stop.
  bool write(const Message& message) {
    std::unique_lock lock(mutex_);
    if (broken_) return false;
    writing_ = true;
    this->StartWrite(&message);
    if (!changed_.wait_for(lock, kWriteLimit, [&] { return !writing_; })) {
      context_->TryCancel();
      changed_.wait(lock, [&] { return !writing_; });
    }
    return !broken_;
  }

  // Requested when the client has gone or the server shuts down.
  std::stop_token stop() const { return stop_.get_token(); }

 private:
  static constexpr std::chrono::seconds kWriteLimit{60};

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    changed_.notify_all();
  }
  void OnCancel() override {
    {
      const std::lock_guard lock(mutex_);
      broken_ = true;
    }
    stop_.request_stop();
  }
  void OnDone() override { delete this; }

  grpc::CallbackServerContext* context_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::stop_source stop_;
  bool writing_ = false;
  bool broken_ = false;
};

// A server stream: `handler` is (StreamWriter&) -> Status, a plain loop that writes.
template <class Message, class Handler>
grpc::ServerWriteReactor<Message>* stream(grpc::CallbackServerContext* context, CallThreads& threads,
                                          Handler handler) {
  auto* writer = new StreamWriter<Message>(context);  // deletes itself in OnDone, as gRPC asks
  const bool started = threads.run([writer, handler = std::move(handler)] {
    writer->Finish(guarded([&]() -> Status { return handler(*writer); }));
  });
  if (!started) writer->Finish(too_busy());
  return writer;
}

}  // namespace fulcrum
