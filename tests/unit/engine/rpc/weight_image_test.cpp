#include "engine/rpc/weight_image.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cstring>

#include "engine/core/half.h"
#include "engine/publish/delta.h"
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

// The weights of a seed, as a bf16 job publishes them.
std::shared_ptr<const WeightImage> bf16_image(int64_t id, uint64_t seed) {
  const Model model = random_model(small_spec(), seed);
  const WeightSet set{{3, 41 + id}, model.spec, model.tensors};
  return WeightImage::in_bf16(id, set, small_tokenizer()).value();
}

// The image of the weights of seed 7 but that some are one unit in the last place higher.
std::shared_ptr<const WeightImage> moved_image(int64_t id) {
  const auto base = bf16_image(1, 7);
  Model model = random_model(small_spec(), 7);
  for (auto& [name, tensor] : model.tensors) {
    std::vector<float> values = to_float(tensor).value();
    for (size_t i = 5; i < values.size(); i += 97)
      values[i] = bf16_to_float(static_cast<uint16_t>(float_to_bf16(values[i]) + 1));
    tensor = make_tensor(tensor.shape, values);
  }
  return WeightImage::in_bf16(id, WeightSet{{3, 41 + id}, model.spec, model.tensors}, small_tokenizer())
      .value();
}

WeightAssembler whole(const WeightImage& image) {
  auto assembler = WeightAssembler::begin(image.manifest(), true);
  EXPECT_TRUE(receive(image, *assembler).ok());
  EXPECT_TRUE(assembler->check_hash().ok());
  return std::move(assembler).value();
}

TEST(WeightImage, InBfloat16ArrivesAsTheRoundedTensorsInHalfTheBytes) {
  const auto image = bf16_image(1, 7);
  EXPECT_LT(image->manifest().tokenizer_chunk(), small_image().manifest().tokenizer_chunk());
  const auto set = whole(*image).weights();
  ASSERT_TRUE(set.ok()) << set.status().message();
  const auto before = small_weights();
  for (const auto& [name, tensor] : before->tensors) {
    const TensorView& arrived = (*set)->tensors.at(name);
    EXPECT_EQ(arrived.dtype, DType::kBF16);
    const std::vector<float> wide = to_float(tensor).value(), narrow = to_float(arrived).value();
    ASSERT_EQ(wide.size(), narrow.size());
    for (size_t i = 0; i < wide.size(); ++i)
      ASSERT_EQ(narrow[i], bf16_to_float(float_to_bf16(wide[i]))) << name << " " << i;
  }
}

TEST(WeightImage, HeldWeightsBecomeTheNextOnesByWhatHasChanged) {
  const auto base = bf16_image(1, 7), next = moved_image(2);
  const std::string delta = encode_delta(base->values(), next->values()).value();
  EXPECT_LT(delta.size() * 50, next->values().size_bytes());
  WeightAssembler held = whole(*base);
  const auto before = held.weights().value();
  const std::string hash_before = content_hash(before->tensors);
  const std::vector<std::string_view> deltas{delta};
  const Status status = held.advance(next->manifest(), deltas);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(content_hash(held.weights().value()->tensors),
            content_hash(whole(*next).weights().value()->tensors));
  EXPECT_EQ(held.weights().value()->version, (PolicyVersion{3, 43}));
  EXPECT_EQ(content_hash(before->tensors), hash_before) << "weights handed out before do not change";
}

TEST(WeightImage, HeldWeightsOfAnotherBaseLayoutOrHashAreNotUpdated) {
  const auto base = bf16_image(1, 7), next = moved_image(2);
  const std::string delta = encode_delta(base->values(), next->values()).value();
  const std::vector<std::string_view> deltas{delta};
  WeightAssembler other = whole(*bf16_image(1, 8));
  EXPECT_EQ(other.advance(next->manifest(), deltas).code(), Code::kDataLoss)
      << "another base: the hash tells";
  v1::Manifest layout = next->manifest();
  layout.mutable_tensors(0)->set_offset(64);
  WeightAssembler held = whole(*base);
  EXPECT_EQ(held.advance(layout, deltas).code(), Code::kDataLoss);
  EXPECT_TRUE(held.check_hash().ok()) << "and nothing was touched";
  const std::vector<std::string_view> cut{std::string_view(delta).substr(0, delta.size() - 1)};
  EXPECT_EQ(held.advance(next->manifest(), cut).code(), Code::kDataLoss);
  WeightAssembler fp32 = whole(small_image());
  EXPECT_EQ(fp32.advance(small_image().manifest(), {}).code(), Code::kDataLoss);
}

TEST(WeightImage, InBfloat16ThatArrivesWithAnotherHashIsFound) {
  const auto image = bf16_image(1, 7);
  v1::Manifest manifest = image->manifest();
  manifest.set_tensors_hash(manifest.tensors_hash() ^ 1);
  auto assembler = WeightAssembler::begin(manifest, false);
  ASSERT_TRUE(receive(*image, *assembler).ok());
  EXPECT_EQ(assembler->check_hash().code(), Code::kDataLoss);
}

Result<UpdateAssembler> begun(std::vector<int64_t> lengths, int64_t most) {
  v1::Update description;
  for (const int64_t n : lengths) description.add_delta_bytes(n);
  return UpdateAssembler::begin(description, most);
}

TEST(WeightUpdate, ArrivesAsItsDeltas) {
  std::vector<std::shared_ptr<const std::string>> deltas;
  for (const size_t size : {size_t{10}, size_t{kWeightChunkBytes}, size_t{3}})
    deltas.push_back(std::make_shared<const std::string>(size, static_cast<char>('a' + deltas.size())));
  const WeightUpdate update(4, 5, deltas);
  auto assembler = UpdateAssembler::begin(update.description(), int64_t{2} << 20);
  ASSERT_TRUE(assembler.ok()) << assembler.status().message();
  EXPECT_EQ(assembler->end_chunk(), 2);
  v1::Chunk damaged = *update.chunk(0);
  (*damaged.mutable_data())[77] ^= 1;
  EXPECT_EQ(assembler->add(damaged).code(), Code::kDataLoss);
  EXPECT_EQ(assembler->add(*update.chunk(1)).code(), Code::kDataLoss);
  EXPECT_TRUE(assembler->add(*update.chunk(0)).ok());
  EXPECT_TRUE(assembler->add(*update.chunk(1)).ok());
  ASSERT_TRUE(assembler->complete());
  EXPECT_EQ(assembler->add(*update.chunk(1)).code(), Code::kDataLoss);
  EXPECT_THAT(assembler->deltas(), ::testing::ElementsAre(*deltas[0], *deltas[1], *deltas[2]));
  EXPECT_EQ(update.chunk(2).status().code(), Code::kOutOfRange);
}

TEST(WeightUpdate, AHostileDescriptionIsRefusedBeforeMemoryIsTaken) {
  EXPECT_TRUE(begun({10, 20}, 30).ok());
  EXPECT_FALSE(begun({10, 21}, 30).ok());
  EXPECT_FALSE(begun({int64_t{1} << 62, int64_t{1} << 62}, 1 << 20).ok());
  EXPECT_FALSE(begun({10, -5}, 30).ok());
  EXPECT_FALSE(begun({0}, 30).ok());
}

// One published set.
class OneImage final : public WeightSource {
 public:
  std::shared_ptr<const WeightImage> image(int64_t id) const override {
    return id == 9 || id == 0 ? std::make_shared<WeightImage>(small_image()) : nullptr;
  }
  std::shared_ptr<const WeightUpdate> update(int64_t base, int64_t id) const override {
    const auto delta = std::make_shared<const std::string>(kWeightChunkBytes + 5, 'd');
    return base == 8 && id == 9 ? std::make_shared<WeightUpdate>(8, 77, std::vector{delta, delta}) : nullptr;
  }
  void sent(int64_t bytes) const override { bytes_sent += bytes; }
  mutable std::atomic<int64_t> bytes_sent = 0;
};

std::vector<int64_t> fetched(const RpcServer& server, int64_t id, int64_t first, int64_t count,
                             grpc::Status& status, int64_t base = 0) {
  const Connection connection = connect_to(server.address());
  grpc::ClientContext context;
  prepare(connection, context);
  v1::FetchRequest request;
  request.set_weights_id(id);
  request.set_first_chunk(first);
  request.set_num_chunks(count);
  request.set_base_weights_id(base);
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
  EXPECT_EQ(source.bytes_sent, all * kWeightChunkBytes);
  EXPECT_THAT(fetched(*server, 9, 1, 2, status), ::testing::ElementsAre(1, 2));
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(fetched(*server, 8, 0, 0, status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(fetched(*server, 9, -1, 0, status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_TRUE(fetched(*server, 9, all + 1, 0, status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST(WeightService, SendsTheUpdateFromWeightsThatAWorkerHolds) {
  const OneImage source;
  WeightServiceServer service(source);
  const auto server = serve({&service});
  const Connection connection = connect_to(server->address());
  const auto stub = v1::WeightService::NewStub(connection.channel());
  for (const int64_t held : {8, 7, 0}) {
    grpc::ClientContext context;
    prepare(connection, context);
    v1::ManifestRequest request;
    request.set_weights_id(9);
    request.set_held_weights_id(held);
    v1::Manifest manifest;
    ASSERT_TRUE(stub->GetManifest(&context, request, &manifest).ok());
    EXPECT_EQ(manifest.has_update(), held == 8);
    if (held != 8) continue;
    EXPECT_EQ(manifest.update().base_weights_id(), 8);
    EXPECT_EQ(manifest.update().base_hash(), 77u);
    EXPECT_THAT(manifest.update().delta_bytes(),
                ::testing::ElementsAre(kWeightChunkBytes + 5, kWeightChunkBytes + 5));
  }
  grpc::Status status;
  EXPECT_THAT(fetched(*server, 9, 0, 0, status, 8), ::testing::ElementsAre(0, 1, 2));
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(source.bytes_sent, 2 * kWeightChunkBytes + 10);
  EXPECT_THAT(fetched(*server, 9, 2, 0, status, 8), ::testing::ElementsAre(2)) << "a broken transfer goes on";
  EXPECT_TRUE(fetched(*server, 9, 0, 0, status, 7).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(fetched(*server, 9, 4, 0, status, 8).empty());
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
