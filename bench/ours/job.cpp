#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "bench/ours/op.h"
#include "engine/pipeline/run_job.h"
#include "policy/nn/device.h"

namespace fulcrum::bench {
namespace {

// Holds the job at the boundary before each step until one is asked for. The job runs on a thread of its own.
class Gate final : public JobControl {
 public:
  // From the asking thread: one step, and its metrics. kUnavailable: the job has ended.
  Result<Json> step() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ || ended_; });
    if (ended_) return end_.ok() ? unavailable("the job has no further step") : end_;
    waiting_ = false;
    asked_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return waiting_ || ended_; });
    if (ended_ && !end_.ok()) return end_;
    return metrics_;
  }
  // Returns once the job stands before its first step, or has ended.
  Status ready() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ || ended_; });
    return end_;
  }
  void end(Status status) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    end_ = std::move(status);
    changed_.notify_all();
  }
  void close() {
    stop_.request_stop();
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  Status point(const std::function<Status()>&) override {
    give_back_reserve();  // to the peer on the same GPU; else the rollouts would a moment later
    std::unique_lock lock(mutex_);
    waiting_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return asked_ || closed_; });
    asked_ = false;
    return closed_ ? cancelled("enough") : ok_status();
  }
  std::stop_token stop() const override { return stop_.get_token(); }
  Status stop_reason() const override { return stop_.stop_requested() ? cancelled("enough") : ok_status(); }
  Status progress(int64_t, int64_t) override { return ok_status(); }
  Status metrics(int64_t, const Json& metrics) override {
    const std::lock_guard lock(mutex_);
    metrics_ = metrics;
    return ok_status();
  }
  Status event(EventLevel, std::string_view, std::string_view, Json) override { return ok_status(); }
  Status set_waiting(JobState) override { return ok_status(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool waiting_ = false, asked_ = false, ended_ = false, closed_ = false;
  Status end_;
  Json metrics_ = Json::object();
  std::stop_source stop_;
};

}  // namespace

Status job_steps(const Json& options, const Serve& serve) {
  const Path folder = options.at("folder").get<std::string>();
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  TRY(config, load_job(options.at("job").get<std::string>(), {}));
  Gate gate;
  std::thread job(
      [&] { gate.end(run_job(config, folder, {.rollouts = local_rollouts, .reward_service = {}}, gate)); });
  Status status = gate.ready();
  if (status.ok()) status = serve([&] { return gate.step(); });
  gate.close();
  job.join();
  return status;
}

}  // namespace fulcrum::bench
