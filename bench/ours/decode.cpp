#include "bench/ours/no_text.h"
#include "bench/ours/op.h"
#include "policy/decode/decode_dtype.h"
#include "policy/weights/model_spec.h"
#include "rollout/generation_device.h"
#include "rollout/make_generator.h"

namespace fulcrum::bench {
namespace {

// Given, or of {count, length} tokens as bench/peers/decode.py makes them.
std::vector<std::vector<TokenId>> prompts_of(const Json& options, int64_t vocabulary) {
  if (options.contains("prompts")) return options.at("prompts").get<std::vector<std::vector<TokenId>>>();
  std::vector<std::vector<TokenId>> out;
  const Json& made = options.at("made");
  for (int64_t r = 0; r < made.at("count").get<int64_t>(); ++r) {
    std::vector<TokenId>& prompt = out.emplace_back();
    for (int64_t j = 0; j < made.at("length").get<int64_t>(); ++j)
      prompt.push_back(static_cast<TokenId>((r * 1'000'003 + j * j * 31 + j * 7'919) % vocabulary));
  }
  return out;
}

}  // namespace

Status decode(const Json& options, const Serve& serve) {
  TRY(model, load_model(options.at("model").get<std::string>()));
  TRY(device, generation_device(options.value("device", "cpu")));
  const auto prompts = prompts_of(options, model.spec.vocab_size);
  const int64_t generations = options.value("generations", int64_t{1});
  const GeneratorOptions how{.max_batch = static_cast<int64_t>(prompts.size()) * generations,
                             .threads = options.at("threads").get<int64_t>(),
                             .device = device};
  TRY(made, make_generating_model(model.spec, model.tensors,
                                  decode_dtype(options.at("dtype").get<std::string>()), how));
  model = {};
  const auto generator = make_generator(made, std::make_shared<NoText>(), how);
  std::vector<RolloutRequest> requests;
  for (const std::vector<TokenId>& ids : prompts) {
    RolloutRequest r;
    r.index = static_cast<int64_t>(requests.size());
    r.prompt.ids = ids;
    r.num_generations = generations;
    r.sampling.temperature = options.at("greedy").get<bool>() ? 0 : 1;
    r.sampling.max_completion_length = options.at("new_tokens").get<int64_t>();
    requests.push_back(std::move(r));
  }
  int64_t step = 0;
  return serve([&]() -> Result<Json> {
    for (RolloutRequest& r : requests) r.step = step;
    ++step;
    TRY(groups, generator->generate(requests, {}, {}));
    Json ids = Json::array();
    int64_t tokens = 0;
    for (const RolloutGroup& group : groups) {
      for (const Completion& completion : group.completions)
        tokens += static_cast<int64_t>(completion.ids.size());
      ids.push_back(group.completions.front().ids);
    }
    Json said = {{"tokens", tokens}};
    if (options.contains("prompts")) said["ids"] = std::move(ids);
    return said;
  });
}

}  // namespace fulcrum::bench
