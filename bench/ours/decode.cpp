#include "bench/ours/op.h"
#include "policy/decode/decode_dtype.h"
#include "policy/decode/decode_model.h"
#include "policy/weights/model_spec.h"
#include "rollout/generator.h"

namespace fulcrum::bench {
namespace {

// Ids are what is compared; a tokenizer without an end never stops a completion early.
class NoText final : public Tokenizer {
 public:
  Result<std::vector<TokenId>> encode(std::string_view, bool) const override {
    return std::vector<TokenId>{};
  }
  std::string decode(std::span<const TokenId>) const override { return {}; }
  int32_t vocab_size() const override { return 0; }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  std::optional<TokenId> eos() const override { return std::nullopt; }
  std::optional<TokenId> pad() const override { return std::nullopt; }
  bool is_special(TokenId) const override { return false; }
};

}  // namespace

Status decode(const Json& options, const Serve& serve) {
  TRY(model, load_model(options.at("model").get<std::string>()));
  TRY(decode_model,
      DecodeModel::create(model.spec, model.tensors, decode_dtype(options.at("dtype").get<std::string>())));
  const auto prompts = options.at("prompts").get<std::vector<std::vector<TokenId>>>();
  Generator generator(
      decode_model, std::make_shared<NoText>(),
      {.max_batch = static_cast<int64_t>(prompts.size()), .threads = options.at("threads").get<int64_t>()});
  std::vector<RolloutRequest> requests;
  for (const std::vector<TokenId>& ids : prompts) {
    RolloutRequest r;
    r.index = static_cast<int64_t>(requests.size());
    r.prompt.ids = ids;
    r.num_generations = 1;
    r.sampling.temperature = options.at("greedy").get<bool>() ? 0 : 1;
    r.sampling.max_completion_length = options.at("new_tokens").get<int64_t>();
    requests.push_back(std::move(r));
  }
  int64_t step = 0;
  return serve([&]() -> Result<Json> {
    for (RolloutRequest& r : requests) r.step = step;
    ++step;
    TRY(groups, generator.generate(requests, {}, {}));
    Json ids = Json::array();
    for (const RolloutGroup& group : groups) ids.push_back(group.completions.front().ids);
    return Json{{"ids", std::move(ids)}};
  });
}

}  // namespace fulcrum::bench
