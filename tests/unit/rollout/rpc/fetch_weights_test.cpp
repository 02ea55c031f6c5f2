#include "rollout/rpc/fetch_weights.h"

#include <gmock/gmock.h>

#include "tests/support/test_data.h"
#include "tests/unit/rollout/rpc/fleet_harness.h"

namespace fulcrum {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace ::fulcrum::testing;

// Three chunks of tensors and one of the tokenizer.
std::shared_ptr<const WeightImage> image() {
  ModelSpec spec = tiny_spec();
  spec.vocab_size = 10'000;
  const Model model = random_model(spec, 3);
  auto weights = std::make_shared<WeightSet>(WeightSet{kVersion, model.spec, model.tensors});
  auto tokenizer = std::make_shared<TokenizerFiles>(TokenizerFiles{{{"t.json", "{}"}}, "hash-of-t", "", ""});
  return std::make_shared<WeightImage>(7, weights, tokenizer);
}

// A learner whose transfers go wrong as the test says: `spoil` sees each chunk before it is sent, with the
// number of the transfer it belongs to; not ok ends that transfer there.
class BadLearner final : public v1::WeightService::Service {
 public:
  using Spoil = std::function<grpc::Status(int transfer, v1::Chunk&)>;
  explicit BadLearner(Spoil spoil) : spoil_(std::move(spoil)) {}

  grpc::Status GetManifest(grpc::ServerContext*, const v1::ManifestRequest*, v1::Manifest* out) override {
    *out = manifest;
    return grpc::Status::OK;
  }
  grpc::Status Fetch(grpc::ServerContext* context, const v1::FetchRequest* request,
                     grpc::ServerWriter<v1::Chunk>* out) override {
    const int transfer = static_cast<int>(begun.size());
    begun.push_back(request->first_chunk());
    for (int64_t i = request->first_chunk(); i < request->first_chunk() + request->num_chunks(); ++i) {
      v1::Chunk chunk = image_->chunk(i).value();
      if (const grpc::Status status = spoil_(transfer, chunk); !status.ok()) return status;
      if (!out->Write(chunk) || context->IsCancelled()) return grpc::Status::CANCELLED;
    }
    return grpc::Status::OK;
  }

  std::shared_ptr<const WeightImage> image_ = image();
  v1::Manifest manifest = image_->manifest();
  std::vector<int64_t> begun;  // the first chunk of each transfer; one transfer at a time

 private:
  Spoil spoil_;
};

Result<FetchedWeights> fetch(BadLearner& learner, const std::string& known_tokenizer = "",
                             std::stop_token stop = {}) {
  const auto server = serve({&learner});
  HeldWeights held;
  auto fetched = fetch_weights(connect_to(server->address()), 7, known_tokenizer, std::move(stop), held);
  EXPECT_FALSE(held) << "nothing is kept of fp32 weights";
  return fetched;
}

void expect_whole(const Result<FetchedWeights>& fetched) {
  ASSERT_TRUE(fetched.ok()) << fetched.status().message();
  ModelSpec spec = tiny_spec();
  spec.vocab_size = 10'000;
  EXPECT_EQ(content_hash(fetched->weights->tensors), content_hash(random_model(spec, 3).tensors));
  EXPECT_EQ(fetched->weights->version, kVersion);
}

grpc::Status good(int, v1::Chunk&) { return grpc::Status::OK; }

TEST(FetchWeights, ComesWholeInOneTransferAndWithoutATokenizerThatIsKnown) {
  BadLearner learner(good);
  ASSERT_GE(learner.manifest.tokenizer_chunk(), 2) << "the tests need several chunks";
  const auto first = fetch(learner);
  expect_whole(first);
  EXPECT_EQ(first->tokenizer.files.at(0).second, "{}");
  const auto again = fetch(learner, "hash-of-t");
  expect_whole(again);
  EXPECT_TRUE(again->tokenizer.files.empty());
  EXPECT_THAT(learner.begun, ElementsAre(0, 0));
}

TEST(FetchWeights, ADamagedChunkIsFetchedAgainAndNothingBeforeIt) {
  BadLearner learner([](int transfer, v1::Chunk& chunk) {
    if (transfer == 0 && chunk.index() == 1) (*chunk.mutable_data())[99] ^= 4;
    return grpc::Status::OK;
  });
  expect_whole(fetch(learner));
  EXPECT_THAT(learner.begun, ElementsAre(0, 1));
}

TEST(FetchWeights, ABrokenTransferGoesOnWhereItBroke) {
  BadLearner learner([](int transfer, v1::Chunk& chunk) {
    const bool breaks = transfer < 2 && chunk.index() == transfer + 1;
    return breaks ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the cable") : grpc::Status::OK;
  });
  expect_whole(fetch(learner));
  EXPECT_THAT(learner.begun, ElementsAre(0, 1, 2));
}

TEST(FetchWeights, ALearnerThatOnlySendsDamageIsGivenUp) {
  BadLearner learner([](int, v1::Chunk& chunk) {
    chunk.set_crc32c(chunk.crc32c() + 1);
    return grpc::Status::OK;
  });
  EXPECT_EQ(fetch(learner).status().code(), Code::kDataLoss);
  EXPECT_THAT(learner.begun, ElementsAre(0, 0, 0));
}

TEST(FetchWeights, ALearnerThatHasMovedOnIsNotAskedAgain) {
  BadLearner learner([](int, v1::Chunk& chunk) {
    return chunk.index() == 1 ? grpc::Status(grpc::StatusCode::NOT_FOUND, "replaced") : grpc::Status::OK;
  });
  const Status status = fetch(learner).status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("replaced"));
  EXPECT_THAT(learner.begun, ElementsAre(0));
}

TEST(FetchWeights, OtherWeightsThanAskedForAreRefused) {
  BadLearner learner(good);
  learner.manifest.set_weights_id(8);
  EXPECT_EQ(fetch(learner).status().code(), Code::kDataLoss);
  learner.manifest.set_weights_id(7);
  learner.manifest.set_num_chunks(int64_t{1} << 50);
  EXPECT_FALSE(fetch(learner).ok());
  EXPECT_TRUE(learner.begun.empty()) << "and no byte of them is asked for";
}

TEST(FetchWeights, AStopRequestEndsATransferInTheMiddle) {
  std::stop_source stop;
  BadLearner learner([&](int, v1::Chunk& chunk) {
    if (chunk.index() == 1) stop.request_stop();
    return grpc::Status::OK;
  });
  EXPECT_EQ(fetch(learner, "", stop.get_token()).status().code(), Code::kCancelled);
}

}  // namespace
}  // namespace fulcrum
