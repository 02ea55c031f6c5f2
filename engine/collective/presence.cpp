#include "engine/collective/presence.h"

#include <algorithm>
#include <cstdlib>
#include <future>
#include <thread>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How long the ranks that are left wait for each other's notes; nobody computes any more then.
constexpr milliseconds kGrace{3000};
constexpr milliseconds kAskAgain{20};

std::string at_key(int64_t rank) { return "fulcrum/at/" + std::to_string(rank); }
std::string left_key(int64_t rank) { return "fulcrum/left/" + std::to_string(rank); }
std::string done_key(int64_t rank) { return "fulcrum/done/" + std::to_string(rank); }

std::vector<uint8_t> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

struct Failure {
  int64_t call = 0;
  milliseconds waited{0};
  bool timed_out = false;
};

// The missing ranks as far as the notes tell.
struct Missing {
  std::vector<int64_t> ranks;
  std::string last_place;  // of the only one
};

std::string names(const std::vector<int64_t>& ranks, int64_t size) {
  std::vector<std::string> numbers;
  for (const int64_t r : ranks) numbers.push_back(std::to_string(r));
  return (ranks.size() == 1 ? "rank " : "ranks ") + join(numbers, ", ") + " of " + std::to_string(size);
}

// Throws what the store throws, and may block for ever if its keeper hangs.
class Inquiry {
 public:
  Inquiry(const GroupStore& group, const Failure& failure) : group_(group), failure_(failure) {}

  Missing ask() {
    store().set(left_key(group_.rank), bytes_of("1"));
    const auto more = failure_.timed_out ? milliseconds(0) : group_.deadline - failure_.waited;
    const auto end = Clock::now() + more + kGrace;
    Missing out = look();
    while (!settled(out) && Clock::now() < end) {
      std::this_thread::sleep_for(kAskAgain);
      out = look();
    }
    say_goodbye(out);
    return out;
  }

 private:
  c10d::Store& store() const { return *group_.store; }

  // Late: did not come to the call. Gone: has not noticed that the call failed, as every rank that is left
  // does.
  Missing look() {
    std::vector<int64_t> late, gone;
    std::string place;
    for (int64_t r = 0; r < group_.size; ++r) {
      if (r == group_.rank || store().check({left_key(r)})) continue;
      gone.push_back(r);
      std::string at;
      if (store().check({at_key(r)})) {
        const std::vector<uint8_t> note = store().get(at_key(r));
        at.assign(note.begin(), note.end());
      }
      if (std::atoll(at.c_str()) >= failure_.call) continue;
      late.push_back(r);
      place = at.substr(std::min(at.find(' '), at.size()));
    }
    some_late_ = !late.empty();
    if (failure_.timed_out && some_late_) return {late, late.size() == 1 ? place : ""};
    return {gone, ""};
  }

  // After a timeout a rank that is late is missing. After a broken connection one that is late may only be
  // slow: it comes, fails too and says so.
  bool settled(const Missing& missing) const {
    if (failure_.timed_out && some_late_) return true;
    return missing.ranks.empty() || (missing.ranks.size() == 1 && !failure_.timed_out);
  }

  // The store's keeper stays until the others have read what they need.
  void say_goodbye(const Missing& missing) {
    store().set(done_key(group_.rank), bytes_of("1"));
    if (group_.rank != 0 || group_.launcher) return;
    const auto end = Clock::now() + kGrace;
    for (int64_t r = 1; r < group_.size; ++r) {
      if (std::ranges::find(missing.ranks, r) != missing.ranks.end()) continue;
      while (!store().check({done_key(r)}) && Clock::now() < end) std::this_thread::sleep_for(kAskAgain);
    }
  }

  const GroupStore group_;
  const Failure failure_;
  bool some_late_ = false;
};

std::string seconds_text(milliseconds time) { return std::to_string((time.count() + 999) / 1000) + " s"; }

}  // namespace

void Presence::arrived(int64_t call, std::string_view purpose) {
  try {
    group_.store->set(at_key(group_.rank), bytes_of(std::to_string(call) + " " + std::string(purpose)));
  } catch (const std::exception&) {
    // The keeper of the store is gone: the call itself says so.
  }
}

Status Presence::explain(int64_t call, std::string_view purpose, milliseconds waited,
                         const std::string& error) {
  const Failure failure{
      .call = call, .waited = waited, .timed_out = waited >= group_.deadline - group_.deadline / 20};
  // On a thread of its own, which is left behind if the keeper of the store hangs.
  std::packaged_task<Missing()> task([group = group_, failure] { return Inquiry(group, failure).ask(); });
  std::future<Missing> answer = task.get_future();
  std::thread(std::move(task)).detach();
  const std::string keeper = group_.launcher ? "the launcher's store" : names({0}, group_.size);
  const std::string what = in_quotes(purpose);
  const std::string resume = "; start all ranks again: the job goes on from its last checkpoint";
  // Twice the grace at rank 0, which says goodbye last; and a second for the answers' way.
  const auto limit = (failure.timed_out ? milliseconds(0) : group_.deadline - waited) +
                     (group_.rank == 0 ? 2 : 1) * kGrace + milliseconds(1000);
  if (answer.wait_for(limit) != std::future_status::ready) {
    return deadline_exceeded(keeper + " did not come to " + what + " within " +
                             seconds_text(group_.deadline) + " (--ddp-timeout) and does not answer" + resume);
  }
  Missing missing;
  try {
    missing = answer.get();
  } catch (const std::exception&) {
    return unavailable(keeper + " has ended, seen at " + what + resume);
  }
  if (missing.ranks.empty())
    return unavailable("the ranks' connection broke at " + what + ": " + printable(error) + resume);
  const std::string who = names(missing.ranks, group_.size);
  if (!failure.timed_out) return unavailable(who + " ended, seen at " + what + resume);
  const std::string last =
      missing.last_place.empty() ? "" : " (last seen at " + in_quotes(missing.last_place.substr(1)) + ")";
  return deadline_exceeded(who + " did not come to " + what + " within " + seconds_text(group_.deadline) +
                           " (--ddp-timeout)" + last + resume);
}

}  // namespace fulcrum
