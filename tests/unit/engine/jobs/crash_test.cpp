// What survives: children that write are killed at random points, disks that are full.
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "engine/core/rng.h"
#include "engine/jobs/checkpoint.h"
#include "engine/jobs/metrics_log.h"
#include "engine/jobs/store.h"
#include "tests/support/test_data.h"
#include "tests/unit/engine/jobs/jobs_testing.h"

namespace fulcrum {
namespace {

using testing::Child;
using testing::expect_ok;
using testing::kCannotMount;
using testing::mount_small_disk;
using testing::TempFolder;
using testing::value_of;

constexpr int kRounds = 15;

// A number both processes see: what the child has been told is durable.
class Shared {
 public:
  Shared()
      : value_(new (::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
                   std::atomic<int64_t>(0)) {}
  ~Shared() { ::munmap(value_, 4096); }
  std::atomic<int64_t>& operator*() const { return *value_; }

 private:
  std::atomic<int64_t>* value_;
};

// Lets the child acknowledge at least `count` more, and then a random moment pass.
void let_it_work(const Shared& acknowledged, int64_t count, Rng& rng) {
  const int64_t goal = *acknowledged + count;
  while (*acknowledged < goal) std::this_thread::yield();
  const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(rng.below(20000));
  while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
}

int submit_for_ever(const Path& folder, const Shared& acknowledged) {
  const auto store = JobStore::open(folder);
  if (!store.ok()) return 1;
  while (true) {
    const std::string n = std::to_string(*acknowledged + 1);
    if (!(*store)->create({"job", "{\"n\": " + n + "}", "request-" + n}).ok()) return 2;
    ++*acknowledged;
  }
}

TEST(CrashTest, AnAcknowledgedJobSurvivesAKillAndNoJobIsThereTwice) {
  const TempFolder folder;
  const Shared acknowledged;
  Rng rng(1, Purpose::kTest);
  for (int round = 0; round < kRounds; ++round) {
    const Child child([&] { return submit_for_ever(folder.path(), acknowledged); });
    let_it_work(acknowledged, 3, rng);
    child.kill();
    ASSERT_EQ(child.wait(), -SIGKILL);

    auto store = value_of(JobStore::open(folder.path()));
    ASSERT_NE(store, nullptr);
    std::set<std::string> configs;
    ListQuery query{.page_size = 1000};
    do {
      const JobPage page = value_of(store->list(query));
      for (const Job& job : page.jobs) {
        EXPECT_TRUE(configs.insert(job.config).second) << job.config << " is there twice";
        EXPECT_EQ(value_of(store->events(job.id, 1)).size(), 1u) << "a job without its event";
      }
      query.page_token = page.next_page_token;
    } while (!query.page_token.empty());
    // The one in flight may be there or not; those acknowledged must be.
    ASSERT_GE(static_cast<int64_t>(configs.size()), *acknowledged);
    ASSERT_LE(static_cast<int64_t>(configs.size()), *acknowledged + 1);
  }
}

int checkpoint_for_ever(const Path& folder, const Shared& acknowledged) {
  auto store = CheckpointStore::open(folder, {.keep_last = 2, .build = "t"});
  if (!store.ok()) return 1;
  while (true) {
    const int64_t step = *acknowledged + 1;
    const auto fill = [&](const Path& path) -> Status {
      for (const char* name : {"model.safetensors", "optimizer.safetensors"}) {
        TRY_DO(append_file(path / name, std::string(100000, static_cast<char>('a' + step % 26))));
      }
      return ok_status();
    };
    if (!store->write(step, {}, fill).ok()) return 2;
    ++*acknowledged;
  }
}

TEST(CrashTest, AfterAKillTheNewestCheckpointIsWholeAndTheAcknowledgedOneOrLater) {
  const TempFolder folder;
  const Shared acknowledged;
  Rng rng(2, Purpose::kTest);
  for (int round = 0; round < kRounds; ++round) {
    const Child child([&] { return checkpoint_for_ever(folder.path(), acknowledged); });
    let_it_work(acknowledged, 2, rng);
    child.kill();
    ASSERT_EQ(child.wait(), -SIGKILL);

    std::vector<std::string> damaged;
    const auto latest = value_of(CheckpointStore::read_only(folder.path()).latest_complete(damaged));
    EXPECT_TRUE(damaged.empty()) << damaged.front();
    ASSERT_TRUE(latest.has_value());
    EXPECT_GE(latest->manifest.step, *acknowledged);
    EXPECT_LE(latest->manifest.step, *acknowledged + 1);
  }
}

// A resume that is killed anywhere, again and again, keeps every line either in the log or for the
// comparison.
TEST(CrashTest, MetricsSurviveKillsInTheMiddleOfAResume) {
  const TempFolder folder;
  const Path file = folder.path() / "metrics.jsonl";
  {
    auto log = MetricsLog::open(file, -1);
    ASSERT_TRUE(log.ok());
    for (int64_t s = 1; s <= 40; ++s) value_of(log->append(s, {{"loss", 1.0 / double(s)}}));
  }
  const Shared resumes;
  Rng rng(3, Purpose::kTest);
  for (int round = 0; round < kRounds; ++round) {
    const Child child([&] {
      while (true) {
        auto log = MetricsLog::open(file, 10);
        if (!log.ok() || log->last_step() != 10) return 1;
        for (int64_t s = 11; s <= 13; ++s) {
          const auto differences = log->append(s, {{"loss", 1.0 / double(s)}});
          if (!differences.ok() || !differences->empty()) return 2;
        }
        ++*resumes;
      }
    });
    let_it_work(resumes, 2, rng);
    child.kill();
    ASSERT_EQ(child.wait(), -SIGKILL);
  }
  auto log = MetricsLog::open(file, 10);
  ASSERT_TRUE(log.ok());
  for (int64_t s = 11; s <= 40; ++s) {
    EXPECT_EQ(value_of(log->append(s, {{"loss", 0.0}})).size(), 1u) << "step " << s << " was not compared";
  }
}

// 0, or the number of the check that failed.
int fill_the_store_up(const Path& folder) {
  if (!mount_small_disk(folder, "2m")) return kCannotMount;
  auto store = JobStore::open(folder);
  if (!store.ok()) return 1;
  int64_t created = 0;
  Status status;
  for (; status.ok() && created < 100; ++created) {
    status = (*store)->create({"job", std::string(100000, 'x'), ""}).status();
  }
  --created;
  if (status.code() != Code::kResourceExhausted) return 2;
  if (created < 1 || (*store)->list({.page_size = 1000})->jobs.size() != static_cast<size_t>(created))
    return 3;
  store->reset();  // makes room: the log is folded into the file
  auto again = JobStore::open(folder);
  if (!again.ok()) return 4;
  if ((*again)->list({.page_size = 1000})->jobs.size() != static_cast<size_t>(created)) return 5;
  return 0;
}

TEST(DiskFullTest, TheStoreSaysResourceExhaustedAndKeepsWhatItAcknowledged) {
  const TempFolder folder;
  const int code = Child([&] { return fill_the_store_up(folder.path()); }).wait();
  if (code == kCannotMount) GTEST_SKIP() << "needs the right to mount";
  EXPECT_EQ(code, 0);
}

int fill_checkpoints_up(const Path& folder) {
  if (!mount_small_disk(folder, "1m")) return kCannotMount;
  auto store = CheckpointStore::open(folder / "checkpoints", {.keep_last = 2, .build = "t"});
  if (!store.ok()) return 1;
  const auto fill = [](size_t bytes) {
    return [=](const Path& path) { return append_file(path / "model.safetensors", std::string(bytes, 'w')); };
  };
  if (!store->write(1, {}, fill(300000)).ok()) return 2;
  const Status full = store->write(2, {}, fill(2000000)).status();
  if (full.code() != Code::kResourceExhausted) return 3;
  std::vector<std::string> damaged;
  const auto latest = store->latest_complete(damaged);
  if (!latest.ok() || !latest->has_value() || (*latest)->manifest.step != 1 || !damaged.empty()) return 4;
  if (std::filesystem::exists(folder / "checkpoints" / ".new-2")) return 5;
  return store->write(2, {}, fill(300000)).ok() ? 0 : 6;  // the room is there again
}

TEST(DiskFullTest, TheLastGoodCheckpointStaysAndTheHalfWrittenOneGoes) {
  const TempFolder folder;
  const int code = Child([&] { return fill_checkpoints_up(folder.path()); }).wait();
  if (code == kCannotMount) GTEST_SKIP() << "needs the right to mount";
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace fulcrum
