#include "rollout/rpc/learner_services.h"

#include <gmock/gmock.h>

#include <thread>

#include "engine/rpc/job_client.h"
#include "policy/text/make_tokenizer.h"
#include "policy/text/tokenizer.h"
#include "rollout/fingerprint.h"
#include "rollout/local_rollout.h"
#include "rollout/rpc/worker.h"
#include "tests/support/free_port.h"
#include "tests/support/http.h"
#include "tests/support/rpc_test.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using namespace ::fulcrum::testing;

constexpr PolicyVersion kFirst{1, 0};

// A real tokenizer and a small random model that fits it.
struct SmallPolicy {
  TempFolder folder;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const WeightSet> weights;

  SmallPolicy() {
    EXPECT_TRUE(write_file_atomic(folder.path() / "tokenizer.json",
                                  *make_character_tokenizer_json("0123456789+= abcdef"))
                    .ok());
    EXPECT_TRUE(
        write_file_atomic(folder.path() / "tokenizer_config.json", make_character_tokenizer_config_json())
            .ok());
    auto loaded = load_tokenizer(folder.path());
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    tokenizer = *loaded;
    ModelSpec spec;
    spec.vocab_size = tokenizer->vocab_size();
    spec.hidden_size = 32;
    spec.intermediate_size = 64;
    spec.num_hidden_layers = 2;
    spec.num_attention_heads = 4;
    spec.num_key_value_heads = 2;
    spec.head_dim = 8;
    spec.max_position_embeddings = 64;
    spec.eos_token_ids = {*tokenizer->eos()};
    const Model model = random_model(spec, 5);
    weights = std::make_shared<WeightSet>(WeightSet{kFirst, spec, model.tensors});
  }

  std::vector<RolloutRequest> requests(int64_t count) const {
    std::vector<RolloutRequest> all;
    for (int64_t i = 0; i < count; ++i) {
      RolloutRequest r;
      r.seed = 42;
      r.index = i;
      r.prompt.row = i;
      r.prompt.text = std::to_string(i) + "+" + std::to_string(i + 1) + "=";
      r.prompt.ids = *tokenizer->encode(r.prompt.text, true);
      r.num_generations = 3;
      r.sampling.max_completion_length = 12;
      r.sampling.stop_ids = {*tokenizer->eos()};
      all.push_back(std::move(r));
    }
    return all;
  }
};

class RealWorker {
 public:
  explicit RealWorker(const std::string& address, const std::string& name)
      : worker_(options(address, name), generator_models({})),
        thread_([this](std::stop_token stop) { EXPECT_TRUE(worker_.run(stop).ok()); }) {}

 private:
  static RolloutWorkerOptions options(const std::string& address, const std::string& name) {
    RolloutWorkerOptions options;
    options.learner.address = address;
    options.name = name;
    options.fingerprint = numeric_fingerprint();
    options.first_backoff = std::chrono::milliseconds(5);
    return options;
  }
  RolloutWorker worker_;
  std::jthread thread_;
};

// A learner whose only kind of job is one batch of rollouts.
TEST(LearnerServices, AJobOverTheClusterDrawsTheBitsOfOneProcess) {
  const SmallPolicy policy;
  LocalRollout local(policy.tokenizer, {});
  ASSERT_TRUE(local.publish(policy.weights).ok());
  const auto requests = policy.requests(9);
  const auto expected = local.generate(requests, kFirst, {});
  ASSERT_TRUE(expected.ok()) << expected.status().message();

  const TempFolder folder;
  LearnerServices services;
  Result<std::vector<RolloutGroup>> groups = unavailable("the job has not run");
  const auto store = std::move(JobStore::open(folder.path())).value();
  auto run = [&](const Job&, JobControl& control) -> Status {
    FleetJobOptions options;
    options.vocab_size = policy.tokenizer->vocab_size();
    options.fingerprint = numeric_fingerprint();
    options.on_waiting = [&](bool waiting) {
      EXPECT_TRUE(control.set_waiting(waiting ? JobState::kWaitingRollout : JobState::kRunning).ok());
    };
    TRY(files, read_tokenizer_files(policy.tokenizer->files(), policy.tokenizer->content_hash(), ""));
    options.tokenizer = files;
    TRY(backend, services.begin_job(std::move(options)));
    TRY_DO(control.progress(0, 1));
    TRY_DO(backend.publisher->publish(policy.weights));
    groups = backend.rollouts->generate(requests, kFirst, control.stop());
    TRY_DO(groups.status());
    return control.progress(1, 1);
  };
  auto runner = std::move(JobRunner::start(*store, run)).value();
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  const JobServiceParts parts{*store, *runner, nullptr, nullptr};
  ASSERT_TRUE(
      services.listen(std::move(LearnerDoors::open(options, {.listen = "127.0.0.1:0"})).value(), parts).ok());
  EXPECT_EQ(services.listen(std::move(LearnerDoors::open(options)).value(), parts).code(),
            Code::kFailedPrecondition);

  JobClient client(connect_to(services.address()));
  const auto job = client.submit({"n", "{}", ""});
  ASSERT_TRUE(job.ok()) << job.status().message();
  RealWorker a(services.address(), "a"), b(services.address(), "b"), c(services.address(), "c");
  const Status end = client.watch(job->id, 1, {}, [](const Event&) { return true; });
  EXPECT_TRUE(end.ok()) << end.message();
  EXPECT_EQ(client.get(job->id)->state, JobState::kSucceeded) << client.get(job->id)->why;
  const std::string page = http_get(services.metrics_address(), "/metrics");
  EXPECT_NE(page.find("fulcrum_results_accepted_total 9\n"), std::string::npos) << page;
  EXPECT_NE(page.find("fulcrum_jobs{state=\"succeeded\"} 1\n"), std::string::npos) << page;
  services.stop();

  ASSERT_TRUE(groups.ok()) << groups.status().message();
  ASSERT_EQ(groups->size(), expected->size());
  for (size_t i = 0; i < groups->size(); ++i) {
    for (size_t g = 0; g < 3; ++g) {
      EXPECT_EQ((*groups)[i].completions[g].ids, (*expected)[i].completions[g].ids);
      EXPECT_EQ((*groups)[i].completions[g].logps, (*expected)[i].completions[g].logps) << "bit for bit";
      EXPECT_EQ((*groups)[i].completions[g].text, (*expected)[i].completions[g].text);
    }
    EXPECT_EQ((*groups)[i].prompt.text, requests[i].prompt.text);
  }
}

TEST(LearnerServices, ListenWithAllTheirDoorsOrWithNone) {
  const auto taken = serve({});
  const auto open = [](const std::string& listen, const std::string& metrics) {
    ServerOptions options;
    options.listen = listen;
    return LearnerDoors::open(options, {.listen = metrics});
  };
  const std::string free = "127.0.0.1:" + std::to_string(free_port());
  EXPECT_EQ(open(free, taken->address()).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(open(taken->address(), free).status().code(), Code::kFailedPrecondition);
  auto doors = open(free, "");
  ASSERT_TRUE(doors.ok()) << "a door was left open: " << doors.status().message();

  const TempFolder folder;
  const auto store = std::move(JobStore::open(folder.path())).value();
  const auto runner =
      std::move(JobRunner::start(*store, [](const Job&, JobControl&) { return ok_status(); })).value();
  LearnerServices services;
  EXPECT_EQ(services.address(), "");
  EXPECT_TRUE(services.listen(std::move(doors).value(), {*store, *runner, nullptr, nullptr}).ok());
  EXPECT_EQ(services.address(), free);
  EXPECT_EQ(services.metrics_address(), "") << "nobody asked for it";
  const Connection connection = connect_to(free);
  for (const std::string name : {"JobService", "WorkerService", "WeightService", "MonitorService"}) {
    const std::string service = "fulcrum.v1." + name;
    const std::string request = std::string("\x0a") + static_cast<char>(service.size()) + service;
    EXPECT_EQ(raw_call(connection, "/grpc.health.v1.Health/Check", request).bytes, "\x08\x01") << service;
  }
}

}  // namespace
}  // namespace fulcrum
