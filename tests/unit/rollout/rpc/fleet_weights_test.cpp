// How the weights of a bf16 job travel: rounded, and from the second version on as what has changed.
#include <gmock/gmock.h>

#include "engine/core/half.h"
#include "engine/core/log.h"
#include "engine/publish/delta.h"
#include "rollout/rpc/fetch_weights.h"
#include "tests/support/process.h"
#include "tests/unit/rollout/rpc/fleet_harness.h"

namespace fulcrum {
namespace {

using namespace ::fulcrum::testing;

constexpr int64_t kWholeBytes = 2 << 20;  // a chunk of tensors and one of the tokenizer

FleetJobOptions bf16_options() {
  FleetJobOptions options = job_options();
  options.dtype = DType::kBF16;
  options.fingerprint = "bf16 bits";
  return options;
}

// The tiny model after so many steps: in each, one weight in fifty of every matrix moves by one unit in the
// last place of bf16.
std::shared_ptr<const WeightSet> weights_of_step(int64_t step) {
  Model model = random_model(tiny_spec(), 11);
  for (auto& [name, tensor] : model.tensors) {
    std::vector<float> values = to_float(tensor).value();
    for (int64_t s = 1; s <= step; ++s) {
      for (size_t i = static_cast<size_t>(s); i < values.size(); i += 50)
        values[i] = bf16_to_float(static_cast<uint16_t>(float_to_bf16(values[i]) + 1));
    }
    tensor = make_tensor(tensor.shape, values);
  }
  return std::make_shared<WeightSet>(WeightSet{{1, step}, model.spec, model.tensors});
}

std::string hash_of_step(int64_t step) {
  WeightSet set = *weights_of_step(step);
  for (auto& [name, tensor] : set.tensors) {
    const std::vector<double> values = to_double(tensor).value();
    tensor = make_tensor(tensor.shape, std::span(values), DType::kBF16).value();
  }
  return content_hash(set.tensors);
}

// A batch with the weights of a step.
void expect_generation(const std::shared_ptr<GrpcRollout>& job, int64_t step) {
  const auto groups = job->generate(requests(2), {1, step}, {});
  ASSERT_TRUE(groups.ok()) << groups.status().message();
}

TEST(FleetWeights, OfABf16JobAreFetchedWholeOnceAndThenAsWhatHasChanged) {
  Learner learner;
  FakeModels models;
  const auto job = learner.fleet.begin_job(bf16_options()).value();
  RunningWorker worker(models, worker_options(learner.server->address()));
  int64_t before = 0;
  for (int64_t step = 0; step < 5; ++step) {
    ASSERT_TRUE(job->publish(weights_of_step(step)).ok());
    expect_generation(job, step);
    EXPECT_EQ(models.dtype, DType::kBF16);
    EXPECT_EQ(models.weights_hash, hash_of_step(step)) << "step " << step;
    const int64_t sent = job->bytes_sent().value() - before;
    if (step == 0) {
      EXPECT_EQ(sent, kWholeBytes);
    } else {
      EXPECT_LT(sent, 2000) << "step " << step;
      EXPECT_GT(sent, 0) << "step " << step;
    }
    before += sent;
  }
  EXPECT_EQ(learner.fleet.counters().at("weight_bytes_sent"), before);
}

TEST(FleetWeights, AWorkerThatMissedVersionsTakesTheChangesOfAllOfThem) {
  Learner learner;
  FakeModels models;
  const auto job = learner.fleet.begin_job(bf16_options()).value();
  RunningWorker worker(models, worker_options(learner.server->address()));
  ASSERT_TRUE(job->publish(weights_of_step(0)).ok());
  expect_generation(job, 0);
  for (int64_t step = 1; step <= 4; ++step) ASSERT_TRUE(job->publish(weights_of_step(step)).ok());
  expect_generation(job, 4);
  EXPECT_EQ(models.weights_hash, hash_of_step(4));
  EXPECT_LT(job->bytes_sent().value(), kWholeBytes + 8000);
}

TEST(FleetWeights, ThatChangedEverywhereAreFetchedWhole) {
  Learner learner;
  FakeModels models;
  const auto job = learner.fleet.begin_job(bf16_options()).value();
  RunningWorker worker(models, worker_options(learner.server->address()));
  ModelSpec spec = tiny_spec();
  spec.vocab_size = 40'000;  // three chunks, so that the room behind the last tensor is a small part
  const auto generate_with = [&](uint64_t seed, int64_t step) {
    const Model model = random_model(spec, seed);
    EXPECT_TRUE(
        job->publish(std::make_shared<WeightSet>(WeightSet{{1, step}, model.spec, model.tensors})).ok());
    expect_generation(job, step);
    return job->bytes_sent().value();
  };
  constexpr int64_t kTensors = 3 << 20, kTokenizer = 1 << 20;
  EXPECT_EQ(generate_with(1, 0), kTensors + kTokenizer);
  EXPECT_EQ(generate_with(2, 1), 2 * kTensors + kTokenizer) << "all but the tokenizer";
  EXPECT_LT(generate_with(2, 2), 2 * kTensors + kTokenizer + 100) << "and the next is a change again";
}

// The weights of a step as a learner gives them that has found what changed since the step before.
std::shared_ptr<WeightSet> known_weights_of_step(int64_t step, int64_t base) {
  auto set = std::make_shared<WeightSet>(*weights_of_step(step));
  FlatWeights flat = flatten_to_bf16(set->tensors).value();
  const FlatWeights before = flatten_to_bf16(weights_of_step(base)->tensors).value();
  flat.change = FlatChange{before.hash,
                           std::make_shared<const std::string>(*encode_delta(*before.values, *flat.values))};
  set->tensors = flat.tensors;
  set->flat = std::make_shared<const FlatWeights>(std::move(flat));
  return set;
}

TEST(FleetWeights, WhoseChangeIsKnownAreSentByItWhereItStartsFromTheVersionBefore) {
  Learner learner;
  FakeModels models;
  const auto job = learner.fleet.begin_job(bf16_options()).value();
  RunningWorker worker(models, worker_options(learner.server->address()));
  const auto sent_for = [&](int64_t step, std::shared_ptr<const WeightSet> weights) {
    const int64_t before = job->bytes_sent().value();
    EXPECT_TRUE(job->publish(std::move(weights)).ok());
    expect_generation(job, step);
    EXPECT_EQ(models.weights_hash, hash_of_step(step));
    return job->bytes_sent().value() - before;
  };
  EXPECT_EQ(sent_for(0, weights_of_step(0)), kWholeBytes);
  const auto known = known_weights_of_step(1, 0);
  EXPECT_EQ(sent_for(1, known), static_cast<int64_t>(known->flat->change->delta->size()));
  EXPECT_LT(sent_for(2, known_weights_of_step(2, 0)), 2000) << "of another base: found by comparing";
  // A change that is not one: it was taken as it is, and the worker finds out.
  auto spoilt = known_weights_of_step(3, 2);
  FlatWeights flat = *spoilt->flat;
  flat.change->delta = std::make_shared<const std::string>(
      *encode_delta(*known->flat->values, *known_weights_of_step(4, 3)->flat->values));
  spoilt->flat = std::make_shared<const FlatWeights>(std::move(flat));
  EXPECT_GE(sent_for(3, spoilt), kWholeBytes / 2) << "whole but for the tokenizer";
}

TEST(FleetWeights, OfAnFp32JobTravelAsTheyAre) {
  Learner learner;
  FakeModels models;
  const auto job = begin(learner.fleet);
  RunningWorker worker(models, worker_options(learner.server->address()));
  for (int64_t step = 0; step < 2; ++step) {
    ASSERT_TRUE(job->publish(weights_of_step(step)).ok());
    expect_generation(job, step);
    EXPECT_EQ(models.weights_hash, content_hash(weights_of_step(step)->tensors));
  }
  EXPECT_EQ(job->bytes_sent().value(), kWholeBytes + (1 << 20));
}

TEST(FleetWeights, OfABf16JobAreGeneratedWithByWorkersWhoseBf16BitsAgree) {
  Learner learner;
  FakeModels models;
  const auto job = learner.fleet.begin_job(bf16_options()).value();
  ASSERT_TRUE(job->publish(weights_of_step(0)).ok());
  RolloutWorkerOptions other = worker_options(learner.server->address(), "other");
  other.bf16_fingerprint = "bits of another CPU";
  RunningWorker refused(models, other);
  ASSERT_TRUE(eventually([&] { return learner.fleet.counters().at("workers_refused") > 0; }));
  RolloutWorkerOptions one = worker_options(learner.server->address(), "one");
  one.fingerprint = "other bits in fp32, which this job does not use";
  RunningWorker taken(models, one);
  expect_generation(job, 0);
  EXPECT_EQ(learner.fleet.counters().at("workers_joined"), 1);
}

// A learner whose changes are not what they should be: `spoil` sees each manifest that offers an update.
class SpoiltUpdates final : public WeightSource {
 public:
  SpoiltUpdates(std::shared_ptr<const WeightImage> from, std::shared_ptr<const WeightImage> to,
                std::shared_ptr<const WeightUpdate> update)
      : from_(std::move(from)), to_(std::move(to)), update_(std::move(update)) {}
  std::shared_ptr<const WeightImage> image(int64_t id) const override {
    return id == from_->manifest().weights_id() ? from_ : to_;
  }
  std::shared_ptr<const WeightUpdate> update(int64_t, int64_t) const override {
    ++updates_asked;
    return update_;
  }
  void sent(int64_t) const override {}
  mutable std::atomic<int> updates_asked = 0;

 private:
  std::shared_ptr<const WeightImage> from_, to_;
  std::shared_ptr<const WeightUpdate> update_;
};

std::shared_ptr<const WeightImage> image_of_step(int64_t id, int64_t step) {
  return WeightImage::in_bf16(id, *weights_of_step(step), job_options().tokenizer).value();
}

// A worker that holds weights 1 asks for weights 2 and gets this update; it must end with weights 2 all the
// same.
void expect_whole_in_spite_of(std::shared_ptr<const WeightUpdate> update) {
  const SpoiltUpdates source(image_of_step(1, 0), image_of_step(2, 1), std::move(update));
  WeightServiceServer service(source);
  const auto server = serve({&service});
  const Connection connection = connect_to(server->address());
  HeldWeights held;
  ASSERT_TRUE(fetch_weights(connection, 1, "", {}, held).ok());
  ASSERT_TRUE(held);
  std::string log;
  const LogTee tee([&](LogLevel, std::string_view line) { log += line; });
  const auto fetched = fetch_weights(connection, 2, "hash-of-t", {}, held);
  ASSERT_TRUE(fetched.ok()) << fetched.status().message();
  EXPECT_EQ(content_hash(fetched->weights->tensors), hash_of_step(1));
  EXPECT_GE(source.updates_asked, 1);
  EXPECT_NE(log.find("weights 2 are fetched whole: "), std::string::npos) << log;
}

TEST(FleetWeights, AreFetchedWholeWhereAnUpdateDoesNotFit) {
  const auto from = image_of_step(1, 0), to = image_of_step(2, 1), other = image_of_step(3, 2);
  const auto good = std::make_shared<const std::string>(*encode_delta(from->values(), to->values()));
  const auto wrong = std::make_shared<const std::string>(*encode_delta(from->values(), other->values()));
  const auto broken = std::make_shared<const std::string>(good->substr(1));
  const uint64_t hash = from->manifest().tensors_hash();
  const auto update = [](int64_t base, uint64_t base_hash, const std::shared_ptr<const std::string>& delta) {
    return std::make_shared<const WeightUpdate>(base, base_hash, std::vector{delta});
  };
  {
    SCOPED_TRACE("from other weights");
    expect_whole_in_spite_of(update(7, hash, good));
  }
  {
    SCOPED_TRACE("from weights of another hash");
    expect_whole_in_spite_of(update(1, hash + 1, good));
  }
  {
    SCOPED_TRACE("to other weights");
    expect_whole_in_spite_of(update(1, hash, wrong));
  }
  {
    SCOPED_TRACE("damaged");
    expect_whole_in_spite_of(update(1, hash, broken));
  }
}

}  // namespace
}  // namespace fulcrum
