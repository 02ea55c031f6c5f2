#include "engine/jobs/runner.h"

#include <future>
#include <stdexcept>

#include "tests/support/test_data.h"
#include "tests/unit/engine/jobs/jobs_testing.h"

namespace fulcrum {
namespace {

using namespace std::chrono_literals;
using testing::expect_ok;
using testing::TempFolder;
using testing::value_of;
using enum JobState;

Status no_save() { return ok_status(); }

// A job that the test drives step by step: it announces where it is and waits for a nod.
class Puppet {
 public:
  JobRunner::Run run() {
    return [this](const Job&, JobControl& control) -> Status {
      TRY_DO(control.progress(0, 100));
      for (int64_t step = 1; step <= 100; ++step) {
        TRY_DO(control.point([&] { return ++saves_, ok_status(); }));
        if (!wait_for_nod(control.stop())) return cancelled();
        TRY_DO(control.metrics(step, {{"loss", 1.0 / static_cast<double>(step)}}));
        if (done_) break;
      }
      return result_;
    };
  }
  void nod() {
    const std::lock_guard lock(mutex_);
    ++nods_;
    changed_.notify_all();
  }
  void finish(Status result = ok_status()) {
    result_ = std::move(result);
    done_ = true;
    nod();
  }
  int saves() const { return saves_; }
  // Until the job is past a boundary and waits for a nod: what is asked of it now acts at the next one.
  void await_inside_a_step() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ && nods_ == 0; });
  }

 private:
  bool wait_for_nod(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    waiting_ = true;
    changed_.notify_all();
    const struct Leave {
      bool& waiting;
      ~Leave() { waiting = false; }
    } leave{waiting_};
    if (!changed_.wait(lock, stop, [&] { return nods_ > 0 || done_; })) return false;
    if (nods_ > 0) --nods_;
    return true;
  }
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int nods_ = 0;
  bool waiting_ = false;
  std::atomic<bool> done_ = false;
  std::atomic<int> saves_ = 0;
  Status result_;
};

struct RunnerTest : ::testing::Test {
  void SetUp() override { store = value_of(JobStore::open(folder.path())); }
  void start(JobRunner::Run run) { runner = value_of(JobRunner::start(*store, std::move(run))); }
  Job submit(const std::string& config = "{}") { return value_of(runner->submit({"job", config, ""})); }
  Job get(const Job& job) { return value_of(store->get(job.id)); }
  // Waits, by the events of the job, until it has been in the state; how often that was so far.
  void await(const Job& job, JobState state, int times = 1) {
    int64_t from = 1;
    while (times > 0) {
      const std::vector<Event> events = value_of(store->wait_events(job.id, from, 30s, {}));
      ASSERT_FALSE(events.empty()) << job.id << " never became " << job_state_name(state);
      for (const Event& e : events) {
        from = e.number + 1;
        if (e.type == "state" && e.data["state"] == job_state_name(state)) --times;
      }
    }
  }
  // Of the job's event with this message.
  EventLevel level_of(const Job& job, const std::string& message) {
    for (const Event& e : value_of(store->events(job.id, 1, 1000))) {
      if (e.message == message) return e.level;
    }
    ADD_FAILURE() << "no event says " << message;
    return EventLevel::kError;
  }
  TempFolder folder;
  std::unique_ptr<JobStore> store;
  std::unique_ptr<JobRunner> runner;
};

TEST_F(RunnerTest, AJobRunsToItsEnd) {
  Puppet puppet;
  start(puppet.run());
  const Job job = submit();
  await(job, kRunning);
  puppet.finish();
  await(job, kSucceeded);
  EXPECT_EQ(get(job).step, 1);
  EXPECT_EQ(get(job).max_steps, 100);
}

TEST_F(RunnerTest, JobsRunOneAtATimeInTheOrderTheyCame) {
  std::vector<std::string> ran;
  start([&](const Job& job, JobControl&) { return ran.push_back(job.config), ok_status(); });
  std::vector<Job> jobs;
  for (const char* config : {"a", "b", "c"}) jobs.push_back(submit(config));
  await(jobs.back(), kSucceeded);
  EXPECT_EQ(ran, (std::vector<std::string>{"a", "b", "c"}));
}

TEST_F(RunnerTest, AnErrorOrAnExceptionFailsTheJobAndNotTheLearner) {
  start([](const Job& job, JobControl&) -> Status {
    if (job.config == "error") return invalid_argument("no such model");
    if (job.config == "throw") throw std::runtime_error("bad\nalloc");
    return ok_status();
  });
  const Job error = submit("error"), thrown = submit("throw"), fine = submit("fine");
  await(fine, kSucceeded);
  EXPECT_EQ(get(error).state, kFailed);
  EXPECT_EQ(get(error).why, "no such model");
  EXPECT_EQ(get(thrown).state, kFailed);
  EXPECT_EQ(get(thrown).why, "the job threw an exception: bad\\nalloc");
}

TEST_F(RunnerTest, APauseActsAtTheNextBoundaryAfterASaveAndResumeGoesOnInPlace) {
  Puppet puppet;
  start(puppet.run());
  const Job job = submit();
  await(job, kRunning);
  puppet.await_inside_a_step();
  EXPECT_EQ(value_of(runner->pause(job.id)).state, kPausing);
  puppet.nod();  // the step at work is finished
  await(job, kPaused);
  EXPECT_EQ(puppet.saves(), 1);
  EXPECT_EQ(value_of(runner->pause(job.id)).state, kPaused) << "again: nothing changes";
  EXPECT_EQ(level_of(job, "paused: asked to pause"), EventLevel::kInfo);
  EXPECT_EQ(value_of(runner->resume(job.id)).state, kRunning);
  puppet.finish();
  await(job, kSucceeded);
  EXPECT_EQ(get(job).epoch, 1) << "it was not started again";
}

TEST_F(RunnerTest, APauseTakenBackBeforeTheBoundaryNeverHappens) {
  Puppet puppet;
  start(puppet.run());
  const Job job = submit();
  await(job, kRunning);
  puppet.await_inside_a_step();
  value_of(runner->pause(job.id));
  EXPECT_EQ(value_of(runner->resume(job.id)).state, kRunning);
  puppet.nod();
  puppet.finish();
  await(job, kSucceeded);
  EXPECT_EQ(puppet.saves(), 0);
}

TEST_F(RunnerTest, AResumeFollowedAtOnceByAPausePausesAgain) {
  Puppet puppet;
  start(puppet.run());
  const Job job = submit();
  await(job, kRunning);
  puppet.await_inside_a_step();
  value_of(runner->pause(job.id));
  puppet.nod();
  await(job, kPaused);
  for (int times = 2; times < 12; ++times) {
    value_of(runner->resume(job.id));
    value_of(runner->pause(job.id));
    puppet.nod();  // if it was quick enough to begin a step
    await(job, kPaused, times);
  }
  value_of(runner->resume(job.id));
  puppet.finish();
  await(job, kSucceeded);
}

TEST_F(RunnerTest, AQueuedJobIsPausedAndResumedInTheQueue) {
  Puppet puppet;
  start(puppet.run());
  const Job first = submit(), second = submit();
  await(first, kRunning);
  EXPECT_EQ(value_of(runner->pause(second.id)).state, kPaused);
  puppet.finish();
  await(first, kSucceeded);
  EXPECT_EQ(get(second).state, kPaused);
  EXPECT_EQ(value_of(runner->resume(second.id)).state, kQueued);
  await(second, kSucceeded);
}

TEST_F(RunnerTest, ACancelIsDurableAtOnceAndStopsABlockingCall) {
  Puppet puppet;
  start(puppet.run());
  const Job job = submit();
  await(job, kRunning);  // it waits for a nod that never comes
  EXPECT_EQ(value_of(runner->cancel(job.id)).state, kCancelled);
  const Job next = submit();
  await(next, kRunning);
  EXPECT_EQ(get(job).state, kCancelled);
  EXPECT_EQ(value_of(runner->cancel(job.id)).state, kCancelled) << "again: nothing changes";
  puppet.finish();
  await(next, kSucceeded);
  EXPECT_EQ(runner->cancel(next.id).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(puppet.saves(), 0);
}

TEST_F(RunnerTest, APausedAndAQueuedJobCanBeCancelled) {
  Puppet puppet;
  start(puppet.run());
  const Job paused = submit(), queued = submit();
  await(paused, kRunning);
  puppet.await_inside_a_step();
  value_of(runner->cancel(queued.id));
  value_of(runner->pause(paused.id));
  puppet.nod();
  await(paused, kPaused);
  value_of(runner->cancel(paused.id));
  const Job next = submit();
  await(next, kRunning);
  EXPECT_EQ(get(queued).epoch, 0) << "it was never taken up";
  runner.reset();  // before the puppet goes
}

TEST_F(RunnerTest, TheReasonOfAStopIsTold) {
  std::promise<Status> reason;
  std::promise<void> inside;
  start([&](const Job&, JobControl& control) -> Status {
    expect_ok(control.stop_reason());
    TRY_DO(control.progress(0, 1));
    std::promise<void> stopped;
    const std::stop_callback on_stop(control.stop(), [&] { stopped.set_value(); });
    inside.set_value();
    stopped.get_future().wait();
    reason.set_value(control.stop_reason());
    return control.point(no_save);
  });
  const Job job = submit();
  inside.get_future().wait();
  value_of(runner->cancel(job.id));
  EXPECT_EQ(reason.get_future().get().code(), Code::kCancelled);
  runner.reset();  // before the promises go
}

TEST_F(RunnerTest, AShutdownSavesAndTheNextStartResumes) {
  std::promise<Status> left;
  int saves = 0;
  start([&](const Job&, JobControl& control) -> Status {
    TRY_DO(control.progress(3, 10));
    while (true) {
      const Status status = control.point([&] { return ++saves, ok_status(); });
      if (status.ok()) continue;
      left.set_value(status);
      return status;
    }
  });
  const Job job = submit();
  await(job, kRunning);
  runner->shutdown();
  EXPECT_EQ(left.get_future().get().code(), Code::kUnavailable);
  EXPECT_EQ(saves, 1);
  EXPECT_EQ(get(job).state, kQueued);
  EXPECT_EQ(runner->submit({"late", "{}", ""}).status().code(), Code::kUnavailable);
  runner.reset();

  start([](const Job& again, JobControl&) {
    EXPECT_EQ(again.epoch, 2);
    EXPECT_EQ(again.step, 3);
    return ok_status();
  });
  await(job, kSucceeded);
}

TEST_F(RunnerTest, APausedJobStaysPausedOverAShutdownAndIsQueuedByResume) {
  Puppet puppet;
  start(puppet.run());
  const Job job = submit();
  await(job, kRunning);
  puppet.await_inside_a_step();
  value_of(runner->pause(job.id));
  puppet.nod();
  await(job, kPaused);
  runner.reset();
  EXPECT_EQ(get(job).state, kPaused);
  Puppet second;
  start(second.run());
  EXPECT_EQ(get(job).state, kPaused);
  EXPECT_EQ(value_of(runner->resume(job.id)).state, kQueued);
  second.finish();
  await(job, kSucceeded);
}

TEST_F(RunnerTest, AFullDiskPausesTheJobWithTheReasonAsAWarning) {
  std::atomic<bool> room = false;
  start([&](const Job&, JobControl&) { return room ? ok_status() : resource_exhausted("the disk is full"); });
  const Job job = submit();
  await(job, kPaused);
  EXPECT_EQ(get(job).why, "the disk is full");
  EXPECT_EQ(level_of(job, "paused: the disk is full"), EventLevel::kWarn);
  room = true;
  value_of(runner->resume(job.id));
  await(job, kSucceeded);
}

TEST_F(RunnerTest, WaitingIsShownAndNotOverAPause) {
  Puppet puppet;
  std::promise<void> waited, paused;
  start([&](const Job&, JobControl& control) -> Status {
    TRY_DO(control.progress(0, 1));
    TRY_DO(control.set_waiting(kWaitingRollout));
    waited.set_value();
    paused.get_future().wait();
    TRY_DO(control.set_waiting(kRunning));
    return control.point(no_save);
  });
  const Job job = submit();
  waited.get_future().wait();
  EXPECT_EQ(get(job).state, kWaitingRollout);
  value_of(runner->pause(job.id));
  paused.set_value();
  await(job, kPaused);
  value_of(runner->resume(job.id));
  await(job, kSucceeded);
}

TEST_F(RunnerTest, AJobIsRemovedOnlyAfterItsThreadHasLeftIt) {
  std::promise<void> may_leave, started;
  start([&](const Job& job, JobControl& control) -> Status {
    if (job.config == "next") return ok_status();
    TRY_DO(control.progress(0, 1));
    started.set_value();
    may_leave.get_future().wait();  // slow to see its stop token
    EXPECT_EQ(control.metrics(1, {{"loss", 1}}).code(), Code::kAborted);
    return control.stop_reason();
  });
  const Job job = submit();
  started.get_future().wait();
  value_of(runner->cancel(job.id));
  EXPECT_EQ(runner->remove(job.id).code(), Code::kFailedPrecondition);
  may_leave.set_value();
  await(submit("next"), kSucceeded);
  expect_ok(runner->remove(job.id));
  EXPECT_EQ(store->get(job.id).status().code(), Code::kNotFound);
}

TEST_F(RunnerTest, WhatAKilledLearnerLeftIsTakenUp) {
  const Job job = value_of(store->create({"job", "{}", ""}));
  value_of(store->move(job.id, 1, kValidatingFiles, ""));
  value_of(store->move(job.id, 2, kRunning, ""));
  start([](const Job&, JobControl&) { return ok_status(); });
  await(job, kSucceeded);
  EXPECT_EQ(get(job).epoch, 2);
}

TEST(LocalJobControlTest, HooksHearEverythingAndASignalStopsWithASave) {
  std::vector<std::string> heard;
  LocalJobControl control(
      {.progress = [&](int64_t s,
                       int64_t m) { heard.push_back(std::to_string(s) + "/" + std::to_string(m)); },
       .metrics = [&](int64_t s, const Json& m) { heard.push_back(std::to_string(s) + m.dump()); },
       .event = [&](const Event& e) { heard.push_back(e.message); }});
  int saves = 0;
  const auto save = [&] { return ++saves, ok_status(); };
  expect_ok(control.progress(0, 9));
  expect_ok(control.metrics(1, {{"a", 1}}));
  expect_ok(control.event(EventLevel::kInfo, "message", "hello", nullptr));
  expect_ok(control.set_waiting(kWaitingReward));
  expect_ok(control.point(save));
  EXPECT_EQ(saves, 0);
  control.request_stop(unavailable("interrupted"));
  control.request_stop(cancelled());
  EXPECT_TRUE(control.stop().stop_requested());
  EXPECT_EQ(control.point(save).message(), "interrupted") << "the first reason stands";
  EXPECT_EQ(saves, 1);
  EXPECT_EQ(heard, (std::vector<std::string>{"0/9", "1{\"a\":1}", "hello"}));
}

}  // namespace
}  // namespace fulcrum
