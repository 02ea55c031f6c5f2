#include "engine/rpc/weight_image.h"

#include <gmock/gmock.h>

#include <cstring>

#include "engine/rpc/limits.h"
#include "engine/rpc/weight_service.h"
#include "tests/support/rpc_test.h"

namespace fulcrum {
namespace {

using namespace ::fulcrum::testing;

ModelSpec small_spec() {
  ModelSpec spec;
  spec.vocab_size = 600;  // more than one chunk of weights
  spec.hidden_size = 256;
  spec.intermediate_size = 96;
  spec.num_hidden_layers = 1;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 64;
  spec.eos_token_ids = {2};
  return spec;
}

std::shared_ptr<const WeightSet> small_weights() {
  Model model = random_model(small_spec(), 7);
  return std::make_shared<WeightSet>(WeightSet{{3, 41}, model.spec, model.tensors});
}

std::shared_ptr<const TokenizerFiles> small_tokenizer() {
  return std::make_shared<TokenizerFiles>(
      TokenizerFiles{{{"tokenizer.json", std::string(size_t{1} << 20, 't') + "end"}, {"special.txt", "\0x"}},
                     "hash",
                     "gpt2",
                     ""});
}

WeightImage small_image() { return {9, small_weights(), small_tokenizer()}; }

Status receive(const WeightImage& image, WeightAssembler& into) {
  while (!into.complete()) {
    TRY(chunk, image.chunk(into.next_chunk()));
    TRY_DO(into.add(chunk));
  }
  return ok_status();
}

TEST(WeightImage, ArrivesBitForBit) {
  const WeightImage image = small_image();
  EXPECT_GT(image.manifest().num_chunks(), 3);
  auto assembler = WeightAssembler::begin(image.manifest(), true);
  ASSERT_TRUE(assembler.ok()) << assembler.status().message();
  ASSERT_TRUE(receive(image, *assembler).ok());
  const auto set = assembler->weights();
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_EQ((*set)->version, (PolicyVersion{3, 41}));
  EXPECT_EQ((*set)->spec.hidden_size, 256);
  EXPECT_EQ(content_hash((*set)->tensors), content_hash(small_weights()->tensors));
  EXPECT_EQ(assembler->tokenizer().files, small_tokenizer()->files);
  EXPECT_EQ(assembler->tokenizer().splitter, "gpt2");
}

TEST(WeightImage, LeavesTheTokenizerOutWhenItIsKnown) {
  const WeightImage image = small_image();
  auto assembler = WeightAssembler::begin(image.manifest(), false);
  ASSERT_TRUE(receive(image, *assembler).ok());
  EXPECT_EQ(assembler->next_chunk(), image.manifest().tokenizer_chunk());
  EXPECT_TRUE(assembler->weights().ok());
  EXPECT_TRUE(assembler->tokenizer().files.empty());
  EXPECT_EQ(assembler->tokenizer().hash, "hash");
}

TEST(WeightImage, NothingIsUsableBeforeItIsWhole) {
  const WeightImage image = small_image();
  auto assembler = WeightAssembler::begin(image.manifest(), false);
  ASSERT_TRUE(assembler->add(*image.chunk(0)).ok());
  EXPECT_EQ(assembler->weights().status().code(), Code::kFailedPrecondition);
}

TEST(WeightImage, ADamagedMisplacedOrRepeatedChunkIsRefusedAndTheNextTryGoesOn) {
  const WeightImage image = small_image();
  auto assembler = WeightAssembler::begin(image.manifest(), false);
  v1::Chunk damaged = *image.chunk(0);
  (*damaged.mutable_data())[77] ^= 1;
  EXPECT_EQ(assembler->add(damaged).code(), Code::kDataLoss);
  EXPECT_EQ(assembler->add(*image.chunk(1)).code(), Code::kDataLoss);
  EXPECT_TRUE(assembler->add(*image.chunk(0)).ok());
  EXPECT_EQ(assembler->add(*image.chunk(0)).code(), Code::kDataLoss);
  v1::Chunk cut = *image.chunk(1);
  cut.mutable_data()->resize(100);
  EXPECT_EQ(assembler->add(cut).code(), Code::kDataLoss);
  EXPECT_TRUE(receive(image, *assembler).ok());
  EXPECT_EQ(content_hash((*assembler->weights())->tensors), content_hash(small_weights()->tensors));
}

TEST(WeightImage, AHostileManifestIsRefusedBeforeMemoryIsTaken) {
  const v1::Manifest good = small_image().manifest();
  const auto refuses = [&](const std::function<void(v1::Manifest&)>& spoil) {
    v1::Manifest bad = good;
    spoil(bad);
    return !WeightAssembler::begin(bad, true).ok();
  };
  EXPECT_FALSE(refuses([](v1::Manifest&) {}));
  EXPECT_TRUE(refuses([](auto& m) { m.set_num_chunks(int64_t{1} << 50); }));
  EXPECT_TRUE(refuses([](auto& m) { m.set_num_chunks(-1); }));
  EXPECT_TRUE(refuses([](auto& m) { m.set_chunk_bytes(1); }));
  EXPECT_TRUE(refuses([](auto& m) { m.set_tokenizer_chunk(m.num_chunks() + 1); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors(0)->set_offset(int64_t{1} << 40); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors(0)->set_offset(-64); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors(0)->set_offset(4); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors(0)->set_bytes(8); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors(0)->set_dtype("F1"); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors(0)->set_shape(0, 5); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors(0)->set_name("other"); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors()->RemoveLast(); }));
  EXPECT_TRUE(refuses([](auto& m) { *m.mutable_tensors(1) = m.tensors(2); }));  // one twice, one not at all
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tensors(0)->set_dtype("I32"); }));
  EXPECT_TRUE(refuses([](auto& m) {  // room that no tensor fills
    for (auto& file : *m.mutable_tokenizer_files()) file.set_offset(file.offset() + (int64_t{1} << 41));
    m.set_tokenizer_chunk(m.tokenizer_chunk() + (1 << 21));
    m.set_num_chunks(m.num_chunks() + (1 << 21));
  }));
  EXPECT_TRUE(refuses([](auto& m) { m.set_model_config_json("{"); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tokenizer_files(0)->set_name("../../etc/passwd"); }));
  EXPECT_TRUE(refuses([](auto& m) { m.mutable_tokenizer_files(0)->set_bytes(int64_t{1} << 40); }));
  EXPECT_TRUE(refuses([](auto& m) { m.set_tokenizer_entry("/etc/passwd"); }));
}

// One published set.
class OneImage final : public WeightSource {
 public:
  std::shared_ptr<const WeightImage> image(int64_t id) const override {
    return id == 9 || id == 0 ? std::make_shared<WeightImage>(small_image()) : nullptr;
  }
};

std::vector<int64_t> fetched(const RpcServer& server, int64_t id, int64_t first, int64_t count,
                             grpc::Status& status) {
  const Connection connection = connect_to(server.address());
  grpc::ClientContext context;
  prepare(connection, context);
  v1::FetchRequest request;
  request.set_weights_id(id);
  request.set_first_chunk(first);
  request.set_num_chunks(count);
  const auto stub = v1::WeightService::NewStub(connection.channel());
  const auto reader = stub->Fetch(&context, request);
  std::vector<int64_t> indices;
  v1::Chunk chunk;
  while (reader->Read(&chunk)) indices.push_back(chunk.index());
  status = reader->Finish();
  return indices;
}

TEST(WeightService, SendsChunksFromAnyPlaceAndNoneOfWhatItHasNot) {
  const OneImage source;
  WeightServiceServer service(source);
  const auto server = serve({&service});
  grpc::Status status;
  const int64_t all = small_image().manifest().num_chunks();
  EXPECT_EQ(fetched(*server, 9, 0, 0, status).size(), static_cast<size_t>(all));
  EXPECT_TRUE(status.ok());
  EXPECT_THAT(fetched(*server, 9, 1, 2, status), ::testing::ElementsAre(1, 2));
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(fetched(*server, 8, 0, 0, status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(fetched(*server, 9, -1, 0, status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_TRUE(fetched(*server, 9, all + 1, 0, status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST(WeightService, AnswersTheManifestOfTheNewest) {
  const OneImage source;
  WeightServiceServer service(source);
  const auto server = serve({&service});
  const Connection connection = connect_to(server->address());
  grpc::ClientContext context;
  prepare(connection, context);
  v1::Manifest manifest;
  ASSERT_TRUE(v1::WeightService::NewStub(connection.channel())->GetManifest(&context, {}, &manifest).ok());
  EXPECT_EQ(manifest.weights_id(), 9);
  EXPECT_EQ(manifest.version().step(), 41);
}

}  // namespace
}  // namespace fulcrum
