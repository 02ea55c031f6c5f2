#include "tests/support/cuda_on_host.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include "tests/support/fiber.h"

constinit thread_local uint3 threadIdx, blockIdx;
constinit thread_local dim3 blockDim, gridDim;

namespace fulcrum::cuda_on_host {
namespace {

constexpr size_t kLanes = 32;
constexpr size_t kMostShared = 227 << 10;  // of a block, on sm_90

thread_local Schedule schedule;
thread_local Faults* collector = nullptr;

std::string text_of(const uint3& at) {
  std::string text = std::to_string(at.x);
  if (at.y != 0 || at.z != 0) text += "," + std::to_string(at.y) + "," + std::to_string(at.z);
  return text;
}

struct Thread {
  enum State { kReady, kAtBarrier, kInWarp, kDone } state = kReady;
  uint3 index;
  Where where;
  // Of a barrier: value. Of a warp operation: all of it.
  Vote vote = Vote::kNone;
  unsigned mask = 0;
  int source = 0;
  uint64_t value = 0, result = 0;

  bool at_line_of(const Thread& other) const {
    return where.line() == other.where.line() &&
           std::string_view(where.file_name()) == other.where.file_name();
  }
  std::string line() const {
    const std::string_view file = where.file_name();
    return std::string(file.substr(file.rfind('/') + 1)) + ":" + std::to_string(where.line());
  }
};

// One block at a time; made once for each host thread, with its fibers.
class Block {
 public:
  // The description of what went wrong, or nothing.
  std::string run(const Launch& launch, uint64_t round) {
    launch_ = &launch;
    const size_t n = size_t{blockDim.x} * blockDim.y * blockDim.z;
    threads_.assign(n, {});
    while (fibers_.size() < n) fibers_.push_back(std::make_unique<Fiber>());
    for (size_t i = 0; i < n; ++i) {
      const auto at = static_cast<unsigned>(i);
      threads_[i].index = {at % blockDim.x, at / blockDim.x % blockDim.y, at / blockDim.x / blockDim.y};
      fibers_[i]->start([](void* block) { static_cast<Block*>(block)->one_thread(); }, this);
    }
    std::fill(shared_.begin(), shared_.end(), uint4{~0u, ~0u, ~0u, ~0u});  // no number is there yet
    ready_.assign((n + kLanes - 1) / kLanes, 0);
    for (size_t i = 0; i < n; ++i) ++ready_[i / kLanes];
    for (;;) {
      while (const auto warp = next_warp(round)) run_warp(*warp, round++);
      if (living() == 0) return "";
      if (!release_barrier()) return why_stuck();
    }
  }

  // From inside a thread.
  Thread& me() { return threads_[current_]; }
  int lane() const { return static_cast<int>(current_ % kLanes); }
  void wait() { fibers_[current_]->leave(); }
  void* shared(size_t bytes) {
    if (shared_.size() * sizeof(uint4) < bytes) shared_.resize((bytes + sizeof(uint4) - 1) / sizeof(uint4));
    return shared_.data();
  }

  static std::vector<size_t> in_order(size_t n, uint64_t round) {
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    if (schedule.order == Schedule::kReverse) std::reverse(order.begin(), order.end());
    if (schedule.order == Schedule::kShuffled) {
      uint64_t state = schedule.seed * 0x9E3779B97F4A7C15u + round + 1;
      for (size_t i = n; i > 1; --i) {  // Fisher and Yates, numbers by SplitMix64
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        std::swap(order[i - 1], order[(z ^ z >> 31) % i]);
      }
    }
    return order;
  }

 private:
  void one_thread() {
    launch_->thread(launch_->kernel_and_arguments);
    me().state = Thread::kDone;
  }

  void make_ready(size_t i) {
    threads_[i].state = Thread::kReady;
    ++ready_[i / kLanes];
  }

  // One with threads that can run. In order, a warp goes on until none of its threads can: to a barrier, far
  // ahead of the others. Shuffled, warps take turns at random, one warp operation at a time.
  std::optional<size_t> next_warp(uint64_t round) const {
    for (const size_t warp : in_order(ready_.size(), round)) {
      if (ready_[warp] > 0) return warp;
    }
    return std::nullopt;
  }

  // Its threads run until each waits or has returned.
  void run_warp(size_t warp, uint64_t round) {
    const size_t base = warp * kLanes;
    for (const size_t lane : in_order(std::min(kLanes, threads_.size() - base), round)) {
      current_ = base + lane;
      if (threads_[current_].state != Thread::kReady) continue;
      threadIdx = threads_[current_].index;
      fibers_[current_]->enter();
      --ready_[warp];
    }
    for (size_t i = base; i < std::min(base + kLanes, threads_.size()); ++i) {
      if (threads_[i].state == Thread::kInWarp) release_warp(base, threads_[i]);
    }
  }

  size_t count(Thread::State state) const {
    return static_cast<size_t>(
        std::count_if(threads_.begin(), threads_.end(), [&](const Thread& t) { return t.state == state; }));
  }
  size_t living() const { return threads_.size() - count(Thread::kDone); }

  // All living threads wait at one line: lets them go.
  bool release_barrier() {
    if (count(Thread::kAtBarrier) != living()) return false;
    const Thread* first = nullptr;
    int votes = 0;
    for (const Thread& t : threads_) {
      if (t.state != Thread::kAtBarrier) continue;
      if (first == nullptr) first = &t;
      if (!t.at_line_of(*first)) return false;
      votes += t.value != 0;
    }
    for (Thread& t : threads_) {
      if (t.state != Thread::kAtBarrier) continue;
      make_ready(static_cast<size_t>(&t - threads_.data()));
      t.result = t.vote == Vote::kOr    ? votes > 0
                 : t.vote == Vote::kAnd ? votes == static_cast<int>(living())
                                        : static_cast<uint64_t>(votes);
    }
    return true;
  }

  bool in_operation(size_t i, const Thread& like) const {
    return i < threads_.size() && threads_[i].state == Thread::kInWarp && threads_[i].mask == like.mask &&
           threads_[i].at_line_of(like);
  }

  // A warp operation all of whose lanes have come: they get their results and go on.
  void release_warp(size_t base, const Thread& like) {
    const unsigned mask = like.mask;
    uint64_t ballot = 0;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (!(mask >> lane & 1)) continue;
      if (!in_operation(base + lane, like)) return;
      const int source = threads_[base + lane].source;
      if (source != kBallot && !(mask >> source & 1)) return;
      ballot |= uint64_t{threads_[base + lane].value != 0} << lane;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (!(mask >> lane & 1)) continue;
      Thread& t = threads_[base + lane];
      t.result = t.source == kBallot ? ballot : threads_[base + static_cast<size_t>(t.source)].value;
    }
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (mask >> lane & 1) make_ready(base + lane);
    }
  }

  std::string why_stuck() const {
    for (size_t i = 0; i < threads_.size(); ++i) {
      const Thread& t = threads_[i];
      if (t.state != Thread::kInWarp) continue;
      const std::string waits =
          "thread " + text_of(t.index) + " waits in a warp operation (" + t.line() + ")";
      const size_t base = i / kLanes * kLanes;
      for (size_t lane = 0; lane < kLanes; ++lane) {
        if (!(t.mask >> lane & 1) || in_operation(base + lane, t)) continue;
        return waits + " that lane " + std::to_string(lane) + " does not reach: " + state_of(base + lane);
      }
      if (t.source != kBallot && !(t.mask >> t.source & 1))
        return waits + " for lane " + std::to_string(t.source) + ", which its mask leaves out";
    }
    const auto waiting = std::find_if(threads_.begin(), threads_.end(),
                                      [](const Thread& t) { return t.state == Thread::kAtBarrier; });
    for (size_t i = 0; i < threads_.size(); ++i) {
      const Thread& t = threads_[i];
      if (t.state == Thread::kDone || (t.state == Thread::kAtBarrier && t.at_line_of(*waiting))) continue;
      return "thread " + text_of(waiting->index) + " waits at the barrier of " + waiting->line() +
             " that thread " + text_of(t.index) + " does not reach: " + state_of(i);
    }
    return "threads wait for each other";
  }

  std::string state_of(size_t i) const {
    if (i >= threads_.size()) return "the block has no such thread";
    const Thread& t = threads_[i];
    switch (t.state) {
      case Thread::kDone:
        return "it has returned";
      case Thread::kAtBarrier:
        return "it waits at the barrier of " + t.line();
      case Thread::kInWarp:
        return "it waits in a warp operation (" + t.line() + ")";
      case Thread::kReady:
        break;
    }
    return "it runs";
  }

  const Launch* launch_ = nullptr;
  size_t current_ = 0;
  std::vector<Thread> threads_;
  std::vector<int> ready_;  // of each warp, the threads that can run
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<uint4> shared_;
};

thread_local Block block;

int fault(const Launch& launch, const std::string& where, const std::string& what) {
  std::string text = std::string(launch.kernel) + where + ": " + what;
  if (collector != nullptr) {
    collector->add(std::move(text));
  } else {
    ADD_FAILURE() << text;
  }
  return recorded(kFault);
}

// What no device takes.
std::string unlaunchable(const Launch& l) {
  const uint64_t threads = uint64_t{l.block.x} * l.block.y * l.block.z;
  if (threads == 0 || threads > 1024 || l.block.z > 64)
    return "a block of " + std::to_string(threads) + " threads";
  if (l.grid.x > 0x7FFFFFFFu || l.grid.y > 65535 || l.grid.z > 65535) return "a grid beyond the limits";
  if (l.shared_bytes > kMostShared) return std::to_string(l.shared_bytes) + " bytes of shared memory";
  if (l.shared_bytes > l.shared_allowed) {
    return std::to_string(l.shared_bytes) + " bytes of shared memory, of which it may have " +
           std::to_string(l.shared_allowed);
  }
  return "";
}

}  // namespace

void use_schedule(const Schedule& chosen) { schedule = chosen; }

std::vector<Schedule> every_schedule() {
  return {{Schedule::kForward}, {Schedule::kReverse}, {Schedule::kShuffled, 1}, {Schedule::kShuffled, 2}};
}

Faults::Faults() : outer_(std::exchange(collector, this)) {}
Faults::~Faults() { collector = outer_; }

int run(const Launch& launch) {
  const uint64_t blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  if (blocks == 0) return 0;
  if (const std::string what = unlaunchable(launch); !what.empty()) return fault(launch, "", what);
  blockDim = launch.block;
  gridDim = launch.grid;
  block.shared(launch.shared_bytes);
  for (const size_t i : Block::in_order(blocks, 0)) {
    const auto at = static_cast<unsigned>(i);
    blockIdx = {at % gridDim.x, at / gridDim.x % gridDim.y, at / gridDim.x / gridDim.y};
    const std::string what = block.run(launch, i);
    if (!what.empty()) return fault(launch, ", block " + text_of(blockIdx), what);
  }
  return 0;
}

int block_barrier(Vote vote, bool value, const Where& where) {
  Thread& t = block.me();
  t.state = Thread::kAtBarrier;
  t.where = where;
  t.vote = vote;
  t.value = value;
  block.wait();
  return static_cast<int>(block.me().result);
}

uint64_t warp_exchange(unsigned mask, uint64_t value, int source, const Where& where) {
  Thread& t = block.me();
  t.state = Thread::kInWarp;
  t.where = where;
  t.mask = mask | 1u << block.lane();  // a lane outside its own mask would wait for ever
  t.source = source;
  t.value = value;
  block.wait();
  return block.me().result;
}

int lane_of_thread() { return block.lane(); }
void* dynamic_shared_bytes() { return block.shared(0); }

}  // namespace fulcrum::cuda_on_host
