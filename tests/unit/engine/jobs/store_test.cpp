#include "engine/jobs/store.h"

#include <fstream>
#include <thread>

#include "tests/support/test_data.h"
#include "tests/unit/engine/jobs/jobs_testing.h"

namespace fulcrum {
namespace {

using namespace std::chrono_literals;
using testing::expect_ok;
using testing::TempFolder;
using testing::value_of;
using enum JobState;

struct StoreTest : ::testing::Test {
  void SetUp() override { reopen(); }
  void reopen() {
    store.reset();
    store = value_of(JobStore::open(folder.path()));
    ASSERT_NE(store, nullptr);
  }
  Job submit(const std::string& name = "job") {
    return value_of(store->create({name, "{\"beta\": 0.1}", ""}));
  }
  Job move(const Job& job, JobState next, const std::string& why = "") {
    return value_of(store->move(job.id, value_of(store->get(job.id)).revision, next, why));
  }
  Job start(const Job& job) { return move(move(job, kValidatingFiles), kRunning); }
  std::vector<std::string> messages(const Job& job) {
    std::vector<std::string> all;
    for (const Event& e : value_of(store->events(job.id, 1))) all.push_back(e.message);
    return all;
  }
  TempFolder folder;
  std::unique_ptr<JobStore> store;
};

TEST_F(StoreTest, AJobIsThereAfterTheStoreIsOpenedAgain) {
  const Job job = value_of(store->create({"arith", "{\"beta\": 0.1}", "r1"}));
  EXPECT_EQ(job.id, "job-000001");
  EXPECT_EQ(job.state, kQueued);
  reopen();
  const Job again = value_of(store->get("job-000001"));
  EXPECT_EQ(again.name, "arith");
  EXPECT_EQ(again.config, "{\"beta\": 0.1}");
  EXPECT_EQ(again.revision, 1);
  EXPECT_GT(again.created_at, 0);
}

TEST_F(StoreTest, UnknownJobsAreNotFound) {
  submit();
  for (const char* id : {"job-000002", "job-1", "", "job-", "1", "job-000001 ", "job-99999999999999999999"}) {
    EXPECT_EQ(store->get(id).status().code(), Code::kNotFound) << id;
  }
}

TEST_F(StoreTest, TheSameRequestMakesOneJobAndAnotherFileUnderItsIdIsRefused) {
  const NewJob request{"a", "{}", "request-1"};
  EXPECT_EQ(value_of(store->create(request)).id, value_of(store->create(request)).id);
  EXPECT_EQ(store->create({"a", "{ }", "request-1"}).status().code(), Code::kAlreadyExists);
  EXPECT_EQ(store->create({"b", "{}", "request-1"}).status().code(), Code::kAlreadyExists);
  EXPECT_NE(submit().id, submit().id) << "without a request id every call makes a job";
  EXPECT_EQ(value_of(store->list({})).jobs.size(), 3u);
}

TEST_F(StoreTest, AMoveNeedsTheRevisionThatWasRead) {
  const Job job = submit();
  const Job taken = move(job, kValidatingFiles);
  EXPECT_EQ(taken.revision, 2);
  EXPECT_EQ(store->move(job.id, job.revision, kCancelled, "").status().code(), Code::kAborted);
  EXPECT_EQ(value_of(store->get(job.id)).state, kValidatingFiles);
}

TEST_F(StoreTest, AMoveThatIsNotInTheTableIsRefusedInWords) {
  const Job job = submit();
  const Status status = store->move(job.id, 1, kSucceeded, "").status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_EQ(status.message(), "job-000001 is queued and cannot become succeeded");
  EXPECT_EQ(messages(job), std::vector<std::string>{"queued"}) << "nothing was written";
}

TEST_F(StoreTest, EveryMoveIsAnEventAndTimesAreKept) {
  const Job job = submit();
  start(job);
  const Job failed = move(job, kFailed, "no such model");
  EXPECT_EQ(messages(job),
            (std::vector<std::string>{"queued", "validating_files", "running", "failed: no such model"}));
  EXPECT_GT(failed.started_at, 0);
  EXPECT_GT(failed.finished_at, 0);
  EXPECT_EQ(failed.why, "no such model");
  const Event last = value_of(store->events(job.id, 4)).at(0);
  EXPECT_EQ(last.level, EventLevel::kError);
  EXPECT_EQ(last.data, (Json{{"state", "failed"}, {"from", "running"}}));
}

TEST_F(StoreTest, ListGivesEachJobOncePageByPageNewestFirst) {
  for (int i = 0; i < 7; ++i) submit();
  std::vector<std::string> seen;
  ListQuery query{.page_size = 3};
  do {
    const JobPage page = value_of(store->list(query));
    for (const Job& job : page.jobs) seen.push_back(job.id);
    submit();  // comes in between: on no later page
    query.page_token = page.next_page_token;
  } while (!query.page_token.empty());
  EXPECT_EQ(seen, (std::vector<std::string>{"job-000007", "job-000006", "job-000005", "job-000004",
                                            "job-000003", "job-000002", "job-000001"}));
}

TEST_F(StoreTest, ListFiltersByState) {
  start(submit());
  submit();
  EXPECT_EQ(value_of(store->list({.states = {kRunning}})).jobs.at(0).id, "job-000001");
  EXPECT_EQ(value_of(store->list({.states = {kRunning, kQueued}})).jobs.size(), 2u);
  EXPECT_EQ(store->list({.page_size = 0}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store->list({.page_token = "x' OR 1"}).status().code(), Code::kInvalidArgument);
}

TEST_F(StoreTest, ARestartQueuesWhatRanAndANewEpochBeginsWhenItIsTakenAgain) {
  const Job ran = start(submit()), pausing = start(submit()), queued = submit();
  EXPECT_EQ(ran.epoch, 1);
  move(pausing, kPausing);
  reopen();
  EXPECT_EQ(value_of(store->recover()), 2);
  EXPECT_EQ(value_of(store->get(ran.id)).state, kQueued);
  EXPECT_EQ(value_of(store->get(pausing.id)).state, kPaused);
  EXPECT_EQ(value_of(store->get(queued.id)).state, kQueued);
  EXPECT_EQ(value_of(store->next_queued())->id, ran.id) << "the first submitted goes first";
  EXPECT_EQ(start(ran).epoch, 2);
  EXPECT_EQ(value_of(store->recover()), 1);
}

TEST_F(StoreTest, OnlyAnEndedJobIsRemovedAndItsNumberIsNeverGivenAgain) {
  const Job job = submit();
  EXPECT_EQ(store->remove(job.id).code(), Code::kFailedPrecondition);
  start(job);
  value_of(store->record_metrics(job.id, 1, 1, {{"loss", 1}}));
  move(job, kCancelled);
  expect_ok(store->remove(job.id));
  EXPECT_EQ(store->get(job.id).status().code(), Code::kNotFound);
  EXPECT_EQ(store->events(job.id, 1).status().code(), Code::kNotFound);
  reopen();
  EXPECT_EQ(submit().id, "job-000002");
}

TEST_F(StoreTest, EventsAreNumberedWithoutAGapAndReadFromAnyNumber) {
  const Job one = submit(), two = submit();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(value_of(store->append_event(one.id, {.message = "m" + std::to_string(i)})), i + 2);
    EXPECT_EQ(value_of(store->append_event(two.id, {.message = "other"})), i + 2);
  }
  reopen();
  const std::vector<Event> rest = value_of(store->events(one.id, 3, 2));
  ASSERT_EQ(rest.size(), 2u);
  EXPECT_EQ(rest[0].number, 3);
  EXPECT_EQ(rest[0].message, "m1");
  EXPECT_EQ(rest[1].number, 4);
  EXPECT_TRUE(value_of(store->events(one.id, 7)).empty());
}

TEST_F(StoreTest, MetricsAreAnEventOnceAndAStepDoneAgainAddsNothing) {
  const Job job = start(submit());
  EXPECT_EQ(value_of(store->record_metrics(job.id, 1, 1, {{"loss", 0.5}, {"timing_s/step", 1.0}})), 0);
  EXPECT_EQ(value_of(store->record_metrics(job.id, 1, 1, {{"loss", 0.5}, {"timing_s/step", 2.0}})), 0);
  EXPECT_EQ(value_of(store->record_metrics(job.id, 1, 2, {{"loss", 0.25}})), 0);
  const std::vector<Event> events = value_of(store->events(job.id, 4));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].type, "metrics");
  EXPECT_EQ(events[0].data, (Json{{"step", 1}, {"loss", 0.5}, {"timing_s/step", 1.0}}));
  EXPECT_EQ(value_of(store->get(job.id)).step, 2);
  const std::vector<MetricRow> rows = value_of(store->metrics(job.id, 2, 9));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].metrics, (Json{{"loss", 0.25}}));
}

TEST_F(StoreTest, ADivergingStepReplacesItsRowAndWarns) {
  const Job job = start(submit());
  value_of(store->record_metrics(job.id, 1, 1, {{"loss", 0.5}}));
  EXPECT_EQ(value_of(store->record_metrics(job.id, 1, 1, {{"loss", 0.75}})), 1);
  EXPECT_EQ(value_of(store->metrics(job.id, 1, 1)).at(0).metrics, (Json{{"loss", 0.75}}));
  const Event last = value_of(store->events(job.id, 1)).back();
  EXPECT_EQ(last.level, EventLevel::kWarn);
  EXPECT_EQ(last.data["field"], "loss");
}

TEST_F(StoreTest, AnEpochThatIsOverCanRecordNothing) {
  const Job job = start(submit());
  value_of(store->recover());
  start(job);
  EXPECT_EQ(store->record_metrics(job.id, 1, 1, {{"loss", 1}}).status().code(), Code::kAborted);
  EXPECT_EQ(store->progress(job.id, 1, 1, 2).code(), Code::kAborted);
  expect_ok(store->progress(job.id, 2, 1, 2));
  move(job, kCancelled);
  EXPECT_EQ(store->progress(job.id, 2, 2, 2).code(), Code::kAborted);
  EXPECT_TRUE(value_of(store->metrics(job.id, 0, 9)).empty());
}

TEST_F(StoreTest, AWatcherGetsWhatIsThereAndWaitsForTheNext) {
  const Job job = submit();
  EXPECT_EQ(value_of(store->wait_events(job.id, 1, 0ms, {})).size(), 1u);
  EXPECT_TRUE(value_of(store->wait_events(job.id, 2, 0ms, {})).empty());
  std::thread writer([&] { value_of(store->append_event(job.id, {.message = "news"})); });
  const std::vector<Event> news = value_of(store->wait_events(job.id, 2, 60s, {}));
  writer.join();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_EQ(news[0].message, "news");
}

TEST_F(StoreTest, AStopRequestWakesAWatcher) {
  const Job job = submit();
  std::stop_source stop;
  std::thread stopper([&] { stop.request_stop(); });
  EXPECT_EQ(store->wait_events(job.id, 2, 60s, stop.get_token()).status().code(), Code::kCancelled);
  stopper.join();
}

TEST_F(StoreTest, ASecondLearnerIsRefusedWithThePidOfTheFirst) {
  const Status second = JobStore::open(folder.path()).status();
  EXPECT_EQ(second.code(), Code::kFailedPrecondition);
  EXPECT_NE(second.message().find("process " + std::to_string(::getpid())), std::string::npos)
      << second.message();
}

TEST_F(StoreTest, ADamagedFileIsRefusedByItsName) {
  for (int i = 0; i < 50; ++i) submit(std::string(300, 'x'));
  store.reset();
  const Path file = folder.path() / "jobs.db";
  const auto size = std::filesystem::file_size(file);
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  for (uint64_t page = 0; page < size / 4096; ++page) {  // the header of every b-tree page
    bytes.seekp(static_cast<std::streamoff>(page * 4096 + (page == 0 ? 100 : 0)));
    bytes.write("\x07\x07\x07\x07\x07\x07\x07\x07", 8);
  }
  bytes.close();
  const Status damaged = JobStore::open(folder.path()).status();
  EXPECT_EQ(damaged.code(), Code::kDataLoss) << damaged.message();
  EXPECT_NE(damaged.message().find(file.string()), std::string::npos) << damaged.message();

  std::ofstream(file, std::ios::binary) << std::string(8192, 'n');  // not a database at all
  EXPECT_EQ(JobStore::open(folder.path()).status().code(), Code::kDataLoss);
}

TEST_F(StoreTest, AStoreThatVanishedIsNotReplacedByAnEmptyOne) {
  submit();
  store.reset();
  std::filesystem::remove(folder.path() / "jobs.db");
  const Status gone = JobStore::open(folder.path()).status();
  EXPECT_EQ(gone.code(), Code::kDataLoss);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "jobs.db"));
  std::filesystem::remove(folder.path() / "jobs.db.created");
  reopen();
}

TEST_F(StoreTest, ManyThreadsLoseNothing) {
  const Job job = submit();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        submit();
        value_of(store->append_event(job.id, {.message = "m"}));
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(value_of(store->list({.page_size = 1000})).jobs.size(), 81u);
  const std::vector<Event> events = value_of(store->events(job.id, 1));
  ASSERT_EQ(events.size(), 81u);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].number, static_cast<int64_t>(i + 1));
}

}  // namespace
}  // namespace fulcrum
