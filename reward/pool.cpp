#include "reward/pool.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

struct Text {
  std::string text;
  int64_t num_tokens;
  bool truncated;
};

// One group on its way through a judge, with everything the judge looks at.
struct Item {
  size_t index;  // among the groups of the call
  std::string prompt;
  Json columns;
  std::vector<Text> completions;
};

// One call of score(). Shared with the workers, so that one which comes back late finds its place still
// there.
struct Call {
  Deadline deadline;
  std::stop_source stop;
  std::vector<std::vector<Verdict>> verdicts;  // empty: not in yet (guarded by State::mutex)
  size_t missing = 0;
};

struct Work {
  std::shared_ptr<Call> call;
  std::shared_ptr<const Item> item;
};

std::vector<Verdict> all_of(VerdictKind kind, std::string_view reason, size_t count) {
  return std::vector<Verdict>(count, Verdict{.kind = kind, .reason = std::string(reason)});
}

std::vector<Verdict> judge_item(const RewardFunction& judge, const Item& item, const Call& call) {
  const size_t count = item.completions.size();
  std::vector<RewardRequest> requests;
  for (const Text& c : item.completions) {
    requests.push_back({item.prompt, c.text, &item.columns, c.num_tokens, c.truncated});
  }
  std::vector<Verdict> verdicts;
  try {  // a judge must not throw; one that does costs its own group only
    verdicts = judge.score(requests, call.deadline, call.stop.get_token());
  } catch (const std::exception& e) {
    return all_of(VerdictKind::kFailed, "the reward threw: " + printable(e.what()), count);
  } catch (...) {
    return all_of(VerdictKind::kFailed, "the reward threw", count);
  }
  if (verdicts.size() != count)
    return all_of(VerdictKind::kFailed, "the reward gave a wrong number of verdicts", count);
  for (Verdict& v : verdicts) {
    if (!v.score || std::isfinite(*v.score)) continue;
    v.score.reset();
    v.kind = VerdictKind::kFailed;
    v.reason = "the reward gave a score that is not finite";
  }
  return verdicts;
}

}  // namespace

struct RewardPool::State {
  std::shared_ptr<const RewardFunction> judge;
  std::mutex mutex;
  std::condition_variable work_or_end;
  std::condition_variable_any done;
  std::deque<Work> queue;
  bool ending = false;
  int running = 0;  // threads that have not ended

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      work_or_end.wait(lock, [&] { return ending || !queue.empty(); });
      if (ending) break;
      const Work work = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      std::vector<Verdict> verdicts = judge_item(*judge, *work.item, *work.call);
      lock.lock();
      work.call->verdicts[work.item->index] = std::move(verdicts);
      --work.call->missing;
      done.notify_all();
    }
    --running;
    done.notify_all();
  }

  // Takes a call's unstarted work off the queue. Under the lock.
  void forget(const std::shared_ptr<Call>& call) {
    std::erase_if(queue, [&](const Work& w) { return w.call == call; });
    call->stop.request_stop();
  }
};

RewardPool::RewardPool(std::shared_ptr<const RewardFunction> judge, RewardPoolOptions options)
    : state_(std::make_shared<State>()), options_(options) {
  state_->judge = std::move(judge);
  options_.threads = std::max(1, options_.threads);
  state_->running = options_.threads;
  // Detached, with shared state: a thread inside a judge that hangs can be neither joined nor ended.
  for (int i = 0; i < options_.threads; ++i) std::thread([state = state_] { state->run(); }).detach();
}

RewardPool::~RewardPool() {
  std::unique_lock lock(state_->mutex);
  state_->ending = true;
  state_->work_or_end.notify_all();
  state_->done.wait_for(lock, options_.slack, [&] { return state_->running == 0; });
}

Result<std::vector<std::vector<Verdict>>> RewardPool::score(std::span<const RolloutGroup> groups,
                                                            std::stop_token stop) {
  auto call = std::make_shared<Call>();
  call->deadline = Deadline::in(options_.deadline);
  call->verdicts.resize(groups.size());
  std::vector<Work> work;
  for (size_t i = 0; i < groups.size(); ++i) {
    const RolloutGroup& group = groups[i];
    if (group.completions.empty()) continue;
    auto item = std::make_shared<Item>(Item{i, group.prompt.text, group.prompt.columns, {}});
    for (const Completion& c : group.completions) {
      item->completions.push_back(
          {c.text, static_cast<int64_t>(c.ids.size()), c.finish == FinishReason::kLength});
    }
    work.push_back({call, std::move(item)});
  }
  std::unique_lock lock(state_->mutex);
  call->missing = work.size();
  for (Work& w : work) state_->queue.push_back(std::move(w));
  state_->work_or_end.notify_all();
  state_->done.wait_until(lock, stop, call->deadline.at + options_.slack, [&] { return call->missing == 0; });
  if (call->missing > 0) state_->forget(call);
  if (stop.stop_requested()) return cancelled("cancelled while rewards were scored");
  std::vector<std::vector<Verdict>> verdicts =
      call->verdicts;  // a copy: a late judge may still write its own
  lock.unlock();
  for (size_t i = 0; i < groups.size(); ++i) {
    if (!verdicts[i].empty()) continue;
    verdicts[i] = all_of(VerdictKind::kTimeout, "the reward did not answer before the deadline",
                         groups[i].completions.size());
  }
  return verdicts;
}

}  // namespace fulcrum
