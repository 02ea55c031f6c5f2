#include "reward/model/model_reward.h"

#include <optional>
#include <utility>

#include "engine/core/text.h"
#include "engine/data/pack.h"
#include "policy/text/model_tokenizer.h"
#include "reward/model/score_model.h"

namespace fulcrum {
namespace {

Verdict unscored_by_model(VerdictKind kind, const std::string& reason) {
  return {.score = std::nullopt, .kind = kind, .reason = reason};
}

class ModelReward final : public RewardFunction {
 public:
  ModelReward(std::unique_ptr<ScoreModel> model, std::shared_ptr<const Tokenizer> tokenizer)
      : model_(std::move(model)), tokenizer_(std::move(tokenizer)) {}

  std::string_view name() const override { return "model"; }

  std::vector<Verdict> score(std::span<const RewardRequest> requests, Deadline deadline,
                             std::stop_token stop) const override {
    std::vector<Verdict> out(requests.size());
    std::vector<size_t> packed;  // the requests that became rows
    BatchBuilder builder;
    std::optional<std::string_view> prompt;  // of the builder's last group
    for (size_t i = 0; i < requests.size(); ++i) {
      if (Status added = add(requests[i], prompt, builder); !added.ok()) {
        out[i] = unscored_by_model(VerdictKind::kFailed, added.message());
      } else {
        packed.push_back(i);
      }
    }
    if (packed.empty()) return out;
    const auto scores = model_->scores(builder.take(), deadline, stop);
    const bool late =
        scores.status().code() == Code::kDeadlineExceeded || scores.status().code() == Code::kCancelled;
    for (size_t j = 0; j < packed.size(); ++j) {
      out[packed[j]] = scores.ok() ? Verdict{.score = (*scores)[j], .kind = VerdictKind::kScored}
                                   : unscored_by_model(late ? VerdictKind::kTimeout : VerdictKind::kFailed,
                                                       scores.status().message());
    }
    return out;
  }

 private:
  // Completions of one prompt that follow each other share its tokens.
  Status add(const RewardRequest& request, std::optional<std::string_view>& prompt,
             BatchBuilder& builder) const {
    TRY(prompt_ids, tokenizer_->encode(request.prompt, /*add_special=*/true));
    TRY(ids, tokenizer_->encode(request.completion, /*add_special=*/false));
    if (!request.truncated && tokenizer_->eos()) ids.push_back(*tokenizer_->eos());
    if (prompt_ids.empty()) return invalid_argument("the prompt is empty and the tokenizer has no BOS");
    const auto length = static_cast<int64_t>(prompt_ids.size() + ids.size());
    if (length > model_->spec().max_position_embeddings) {
      return invalid_argument("prompt and completion have " + std::to_string(length) +
                              " tokens, the reward model takes " +
                              std::to_string(model_->spec().max_position_embeddings));
    }
    if (prompt != request.prompt) builder.begin_group(prompt_ids);
    prompt = request.prompt;
    builder.add_row(ids, {});
    return ok_status();
  }

  std::unique_ptr<ScoreModel> model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_model_reward(const RewardConfig& config) {
  if (config.path.empty())
    return invalid_argument("reward 'model' needs the key 'path', the folder of a reward model");
  const std::string where = "reward 'model', " + in_quotes(config.path);
  const auto model = load_model(config.path);
  if (!model.ok()) return model.status().with_context(where);
  auto scorer = ScoreModel::create(*model);
  if (!scorer.ok()) return scorer.status().with_context(where);
  auto tokenizer = load_tokenizer_of(*model, {});
  if (!tokenizer.ok()) return tokenizer.status().with_context(where);
  return std::unique_ptr<RewardFunction>(
      std::make_unique<ModelReward>(std::move(scorer).value(), std::move(tokenizer).value()));
}

}  // namespace fulcrum
