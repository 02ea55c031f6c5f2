// Rank 0's word to the other ranks, which do what it says, one command after the other, until it says the
// end. While it has nothing to say (it generates, judges, writes, waits for a job) it says so now and then,
// so that every wait has the group's deadline. Made by the programs' verbs; used by the learner and the
// pipeline. Thread-safe: one command at a time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "engine/collective/collective.h"
#include "engine/core/json.h"

namespace fulcrum {

// The commands by name: what a message's "do" says.
namespace command {
inline constexpr const char* kIdle = "idle";
inline constexpr const char* kEnd = "end";        // "code": the exit code of all ranks
inline constexpr const char* kBegin = "begin";    // "config": a job; every rank makes its learner
inline constexpr const char* kForget = "forget";  // the job is over
// Those to the learner that kBegin made (engine/learner/leading_learner.cpp).
inline constexpr const char* kStep = "step";
inline constexpr const char* kEvaluate = "evaluate";
inline constexpr const char* kLogps = "logps";
inline constexpr const char* kValues = "values";
inline constexpr const char* kLoad = "load";
}  // namespace command

class Leader {
 public:
  // `idle_every`: well below the group's deadline.
  Leader(std::shared_ptr<Collective> group, std::chrono::milliseconds idle_every);
  // Says the end, with the code of an internal error unless end() did.
  ~Leader();

  // Says what comes and does this rank's part of it. A result that says that the group is broken, or that
  // another rank was asked to stop, is told to on_trouble() too.
  template <class Run>
  auto lead(const Json& message, Run&& run) -> decltype(run()) {
    const std::unique_lock lock(mutex_);
    if (Status said = say(message); !said.ok()) return tell(said);
    auto out = std::forward<Run>(run)();
    static_cast<void>(tell(group_->status()));
    return out;
  }
  void end(int exit_code);

  const std::shared_ptr<Collective>& group() const { return group_; }

  // Called with the reason, from any thread, when the ranks cannot go on; null: nobody.
  void on_trouble(std::function<void(const Status& why)> hear);
  // Passes a trouble on and returns it.
  Status tell(Status why);
  // The first one; ok if there was none.
  Status trouble() const;

 private:
  Status say(const Json& message);
  void keep_in_touch(const std::stop_token& stop, std::chrono::milliseconds every);

  const std::shared_ptr<Collective> group_;
  std::mutex mutex_;  // of the group
  std::condition_variable_any changed_;
  bool ended_ = false;
  mutable std::mutex hear_mutex_;
  std::function<void(const Status&)> hear_;
  Status trouble_;
  std::jthread keeper_;  // last: stops first
};

// The next command, on a rank that follows.
Result<Json> hear_command(Collective& group);

}  // namespace fulcrum
