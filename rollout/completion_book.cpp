#include "rollout/completion_book.h"

#include <algorithm>
#include <string>
#include <utility>

#include "rollout/completion_text.h"

namespace fulcrum {
namespace {

// What a message begins with; nothing for a prompt that stands in no data file.
std::string where_of(const RolloutRequest& request) {
  return request.prompt.row < 0 ? "" : "prompt row " + std::to_string(request.prompt.row) + ": ";
}

Status check_request(const RolloutRequest& request, const ModelSpec& spec) {
  const std::string where = where_of(request);
  const auto length = static_cast<int64_t>(request.prompt.ids.size());
  if (length == 0) return invalid_argument(where + "the prompt has no tokens; give it at least one");
  if (length >= spec.max_position_embeddings) {
    return invalid_argument(where + "the prompt's " + std::to_string(length) +
                            " tokens leave no room in the model's context of " +
                            std::to_string(spec.max_position_embeddings) + "; shorten it");
  }
  for (const TokenId id : request.prompt.ids) {
    if (id < 0 || id >= spec.vocab_size) {
      return invalid_argument(where + "token id " + std::to_string(id) +
                              " is outside the model's vocabulary of " + std::to_string(spec.vocab_size) +
                              "; use the tokenizer that belongs to the model");
    }
  }
  if (request.num_generations < 1) return invalid_argument(where + "num_generations must be at least 1");
  const Status sampling = check_sampling(request.sampling);
  return sampling.ok() ? sampling : invalid_argument(where + sampling.message());
}

Rng noise_of(const RolloutRequest& r, int64_t generation) {
  return Rng(
      r.seed, r.evaluation ? Purpose::kEvaluation : Purpose::kSampling,
      {static_cast<uint64_t>(r.step), static_cast<uint64_t>(r.index), static_cast<uint64_t>(generation)});
}

}  // namespace

Status check_requests(std::span<const RolloutRequest> requests, const ModelSpec& spec) {
  for (const RolloutRequest& r : requests) TRY_DO(check_request(r, spec));
  return ok_status();
}

Status out_of_memory(int64_t sequences) {
  return resource_exhausted("not enough memory for " + std::to_string(sequences) +
                            " sequences at a time; lower rollout_max_batch or max_completion_length");
}

CompletionBook::CompletionBook(std::span<const RolloutRequest> requests, PolicyVersion version,
                               const Tokenizer& tokenizer, const ModelSpec& spec, const GenerateCalls& calls)
    : tokenizer_(tokenizer), spec_(spec), calls_(calls) {
  for (const RolloutRequest& r : requests) {
    groups_.push_back({&r, fulcrum::ending_ids(tokenizer, spec, r.sampling)});
    RolloutGroup& out = groups_.back().out;
    out.index = r.index;
    out.prompt = r.prompt;
    out.version = version;
    out.completions.resize(static_cast<size_t>(r.num_generations));
  }
}

int64_t CompletionBook::room(size_t group) const {
  const RolloutRequest& r = request(group);
  return std::min(r.sampling.max_completion_length,
                  spec_.max_position_embeddings - static_cast<int64_t>(r.prompt.ids.size()));
}

OpenCompletion CompletionBook::start() {
  const size_t group = waiting_;
  Group& g = groups_[group];
  const int64_t generation = g.started++;
  if (g.started == g.request->num_generations) ++waiting_;
  OpenCompletion c{.group = group, .generation = generation, .noise = noise_of(*g.request, generation)};
  const std::vector<std::string>& stops = g.request->sampling.stop;
  if (!stops.empty() || calls_.on_token) c.text = std::make_unique<StopText>(tokenizer_, stops);
  return c;
}

Status CompletionBook::take_in(OpenCompletion& c, const std::optional<Draw>& draw) {
  Group& group = groups_[c.group];
  if (!draw) {
    return data_loss(
        where_of(*group.request) + "the model's logits after token " +
        std::to_string(c.completion.ids.size()) +
        " of a completion are not finite: the weights are not, or they give numbers beyond fp32's "
        "range; in training, lower learning_rate");
  }
  c.completion.ids.push_back(draw->id);
  c.completion.logps.push_back(draw->logp);
  TokenEvent event{c.group, c.generation, draw->id, draw->logp, c.text ? c.text->push(draw->id) : ""};

  const bool stop = std::binary_search(group.ending_ids.begin(), group.ending_ids.end(), draw->id) ||
                    (c.text && c.text->found());
  const bool full = static_cast<int64_t>(c.completion.ids.size()) >= room(c.group);
  if (stop || full) {
    if (c.text) event.text += c.text->finish();
    finish(c, stop ? FinishReason::kStop : FinishReason::kLength);
  }
  if (calls_.on_token) calls_.on_token(event);
  if (c.finished && ++group.finished == group.request->num_generations && calls_.on_group) {
    calls_.on_group(c.group, group.out);
  }
  return ok_status();
}

void CompletionBook::finish(OpenCompletion& c, FinishReason reason) {
  c.finished = true;
  c.completion.finish = reason;
  c.completion.text = completion_text(tokenizer_, c.completion.ids);
  groups_[c.group].out.completions[static_cast<size_t>(c.generation)] = std::move(c.completion);
}

std::vector<RolloutGroup> CompletionBook::groups() {
  std::vector<RolloutGroup> out;
  for (Group& g : groups_) out.push_back(std::move(g.out));
  return out;
}

}  // namespace fulcrum
