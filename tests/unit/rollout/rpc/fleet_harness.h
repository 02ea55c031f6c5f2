// A learner's worker side on a loopback port, workers with a model that needs no weights, and a worker that
// speaks raw messages, as a hostile one would.
#pragma once

#include <atomic>
#include <future>
#include <thread>

#include "engine/rpc/convert.h"
#include "rollout/rpc/fleet.h"
#include "rollout/rpc/worker.h"
#include "tests/support/rpc_test.h"

namespace fulcrum::testing {

inline constexpr PolicyVersion kVersion{1, 5};

inline RolloutRequest request(int64_t index, int64_t num_generations = 2) {
  RolloutRequest r;
  r.seed = 3;
  r.step = 5;
  r.index = index;
  r.prompt = {.row = 100 + index,
              .text = "prompt",
              .ids = {1, static_cast<TokenId>(index)},
              .columns = {{"solution", index}}};
  r.num_generations = num_generations;
  r.sampling.max_completion_length = 8;
  return r;
}

inline std::vector<RolloutRequest> requests(int64_t count) {
  std::vector<RolloutRequest> all;
  for (int64_t i = 0; i < count; ++i) all.push_back(request(i));
  return all;
}

// A pure function of the request, as real rollouts are.
inline Completion completion_for(const RolloutRequest& r, int64_t g) {
  return {.ids = {static_cast<TokenId>(10 + r.index % 5), static_cast<TokenId>(20 + g)},
          .logps = {-0.5f, -0.25f},
          .text = "c" + std::to_string(r.prompt.ids[1]) + "." + std::to_string(g),
          .finish = FinishReason::kStop};
}

// The text of such a completion from its tokens alone, of the first five requests.
inline std::string spelled(std::span<const TokenId> ids) {
  return "c" + std::to_string(ids[0] - 10) + "." + std::to_string(ids[1] - 20);
}

inline RolloutGroup group_for(const RolloutRequest& r, PolicyVersion version) {
  RolloutGroup group{.index = r.index, .prompt = r.prompt, .completions = {}, .version = version};
  for (int64_t g = 0; g < r.num_generations; ++g) group.completions.push_back(completion_for(r, g));
  return group;
}

// Waits until a token is stopped.
inline void wait_for_stop(const std::stop_token& stop) {
  std::promise<void> stopped;
  const std::stop_callback on_stop(stop, [&] { stopped.set_value(); });
  stopped.get_future().wait();
}

// Generates at once, or, while `stuck`, only tells that it was asked and waits for its stop.
struct FakeModels {
  std::atomic<bool> stuck = false;
  std::atomic<int> made = 0, refused_to_make = 0, groups = 0;
  std::atomic<int> failures_first = 0;  // how often making a model fails before it works
  std::promise<void> entered;           // set when a stuck model was asked
  std::string weights_hash;
  DType dtype = DType::kF32;  // of the weights
  TokenizerFiles tokenizer;

  class Model final : public WorkerModel {
   public:
    explicit Model(FakeModels& owner) : owner_(owner) {}
    Status generate(std::span<const RolloutRequest> all, PolicyVersion version, std::stop_token stop,
                    const OnGroup& on_group) override {
      if (owner_.stuck.exchange(false)) {
        owner_.entered.set_value();
        wait_for_stop(stop);
        return cancelled();
      }
      for (size_t i = 0; i < all.size(); ++i) {
        ++owner_.groups;
        on_group(i, group_for(all[i], version));
      }
      return ok_status();
    }

   private:
    FakeModels& owner_;
  };

  WorkerModelFactory factory() {
    return [this](std::shared_ptr<const WeightSet> weights,
                  const TokenizerFiles& files) -> Result<std::shared_ptr<WorkerModel>> {
      if (failures_first > 0) {
        --failures_first;
        ++refused_to_make;
        return invalid_argument("this model is not for me");
      }
      ++made;
      weights_hash = content_hash(weights->tensors);
      dtype = weights->tensors.begin()->second.dtype;
      if (!files.files.empty()) tokenizer = files;
      return std::shared_ptr<WorkerModel>(std::make_shared<Model>(*this));
    };
  }
};

inline RolloutWorkerOptions worker_options(const std::string& address, const std::string& name = "w") {
  RolloutWorkerOptions options;
  options.learner.address = address;
  options.name = name;
  options.fingerprint = "bits";
  options.bf16_fingerprint = "bf16 bits";
  options.capacity = 4;
  options.first_backoff = std::chrono::milliseconds(5);
  options.longest_backoff = std::chrono::milliseconds(50);
  return options;
}

// A worker on a thread; stops and joins with the object, as abruptly as a dying process would.
class RunningWorker {
 public:
  RunningWorker(FakeModels& models, RolloutWorkerOptions options)
      : worker_(std::move(options), models.factory()),
        thread_([this](std::stop_token stop) { status_ = worker_.run(stop); }) {}
  void stop() {
    thread_.request_stop();
    thread_.join();
  }
  const Status& status() const { return status_; }

 private:
  RolloutWorker worker_;
  Status status_ = internal_error("still running");
  std::jthread thread_;
};

struct Learner {
  explicit Learner(const Clock& clock = system_clock(), ServerOptions options = {}) : fleet(clock) {
    if (options.listen == ServerOptions().listen) options.listen = "127.0.0.1:0";
    std::vector<grpc::Service*> services{&workers, &weights};
    auto started = RpcServer::start(options, services);
    EXPECT_TRUE(started.ok()) << started.status().message();
    server = std::move(started).value();
  }
  ~Learner() { server->stop(Duration::zero()); }

  Fleet fleet;
  WorkerServiceServer workers{fleet};
  WeightServiceServer weights{fleet};
  std::unique_ptr<RpcServer> server;
};

inline ModelSpec tiny_spec() {
  ModelSpec spec;
  spec.vocab_size = 64;
  spec.hidden_size = 16;
  spec.intermediate_size = 32;
  spec.num_hidden_layers = 1;
  spec.num_attention_heads = 2;
  spec.num_key_value_heads = 1;
  spec.head_dim = 8;
  spec.eos_token_ids = {2};
  return spec;
}

inline std::shared_ptr<const WeightSet> tiny_weights(PolicyVersion version = kVersion) {
  const Model model = random_model(tiny_spec(), 11);
  return std::make_shared<WeightSet>(WeightSet{version, model.spec, model.tensors});
}

inline FleetJobOptions job_options() {
  FleetJobOptions options;
  options.vocab_size = 64;
  options.fingerprint = "bits";
  options.tokenizer =
      std::make_shared<TokenizerFiles>(TokenizerFiles{{{"t.json", "{}"}}, "hash-of-t", "", ""});
  return options;
}

// A job with weights published.
inline std::shared_ptr<GrpcRollout> begin(Fleet& fleet, FleetJobOptions options = job_options()) {
  auto job = fleet.begin_job(std::move(options));
  EXPECT_TRUE(job.ok()) << job.status().message();
  EXPECT_TRUE((*job)->publish(tiny_weights()).ok());
  return *job;
}

// Speaks the protocol message by message.
class RawWorker {
 public:
  explicit RawWorker(const std::string& address)
      : connection_(connect_to(address)), stub_(v1::WorkerService::NewStub(connection_.channel())) {
    prepare(connection_, context_);
    stream_ = stub_->Work(&context_);
  }
  bool send(const v1::WorkerMessage& message) { return stream_->Write(message); }
  void hello(const std::string& name = "raw", const std::string& fingerprint = "bits", int64_t capacity = 4) {
    v1::WorkerMessage message;
    message.mutable_register_()->set_name(name);
    message.mutable_register_()->set_fingerprint(fingerprint);
    message.mutable_register_()->set_capacity(capacity);
    send(message);
  }
  v1::LearnerMessage receive() {
    v1::LearnerMessage message;
    alive_ = stream_->Read(&message);
    return message;
  }
  // Registers and takes the first leases.
  std::vector<v1::Lease> enlist(const std::string& name = "raw") {
    hello(name);
    EXPECT_TRUE(receive().has_registered());
    const v1::LearnerMessage message = receive();
    return {message.leases().leases().begin(), message.leases().leases().end()};
  }
  // Reads what is left; how the learner ended the stream.
  grpc::Status end() {
    while (alive_) receive();
    return stream_->Finish();
  }
  bool alive() const { return alive_; }
  // As a process that was killed: no goodbye.
  void vanish() { context_.TryCancel(); }

 private:
  Connection connection_;
  std::unique_ptr<v1::WorkerService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::LearnerMessage>> stream_;
  bool alive_ = true;
};

// A well-formed answer to a lease.
inline v1::WorkerMessage answer_to(const v1::Lease& lease, int64_t generation) {
  v1::WorkerMessage message;
  v1::CompletionResult& result = *message.mutable_completion();
  result.set_item(lease.item());
  result.set_fence(lease.fence());
  result.set_generation(generation);
  *result.mutable_version() = lease.version();
  completion_to_wire(completion_for(*request_from_wire(lease), generation), result);
  return message;
}

}  // namespace fulcrum::testing
