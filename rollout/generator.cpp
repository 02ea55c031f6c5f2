#include "rollout/generator.h"

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#include "engine/core/rng.h"
#include "rollout/completion_text.h"
#include "rollout/stop_rules.h"

namespace fulcrum {
namespace {

constexpr size_t kPrefillRows =
    64;  // prompt tokens that run between two looks at the stop token, for each thread

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

// A prompt and its completions.
struct Group {
  Group(const RolloutRequest& r, KvSequence sequence, std::vector<TokenId> endings)
      : request(&r), prompt(std::move(sequence)), ending_ids(std::move(endings)) {}

  const RolloutRequest* request;
  KvSequence prompt;
  std::vector<TokenId> ending_ids;
  std::vector<float> logits;  // after the prompt: every completion's first token is drawn from them
  int64_t started = 0, finished = 0;
  RolloutGroup out;
};

// A completion that is being drawn.
struct Sequence {
  size_t group;
  int64_t generation;
  KvSequence cache;
  Rng noise;
  std::unique_ptr<StopText> text;  // only where somebody looks at the text
  Completion completion;
  std::optional<Draw> next;  // drawn, not yet taken in
  bool finished = false;
};

Rng noise_of(const RolloutRequest& r, int64_t generation) {
  return Rng(
      r.seed, r.evaluation ? Purpose::kEvaluation : Purpose::kSampling,
      {static_cast<uint64_t>(r.step), static_cast<uint64_t>(r.index), static_cast<uint64_t>(generation)});
}

}  // namespace

class Generator::Batch {
 public:
  Batch(Generator& owner, std::span<const RolloutRequest> requests, PolicyVersion version,
        std::stop_token stop, const GenerateCalls& calls);
  Result<std::vector<RolloutGroup>> run();

 private:
  Status admit();
  Status prefill(std::span<Group*> groups);
  Sequence start(size_t group);
  Status step();
  void draw(std::span<Sequence> sequences, const std::function<std::span<const float>(size_t)>& logits_of);
  Status take_in(Sequence& s);
  void finish(Sequence& s, FinishReason reason);
  Status stopped() const { return cancelled("the generation was cancelled"); }
  const ModelSpec& spec() const { return owner_.model_->spec(); }

  Generator& owner_;
  std::stop_token stop_;
  const GenerateCalls& calls_;
  std::vector<Group> groups_;
  size_t waiting_ = 0;  // the first group with completions not started
  std::vector<Sequence> active_;
};

Generator::Batch::Batch(Generator& owner, std::span<const RolloutRequest> requests, PolicyVersion version,
                        std::stop_token stop, const GenerateCalls& calls)
    : owner_(owner), stop_(std::move(stop)), calls_(calls) {
  for (const RolloutRequest& r : requests) {
    groups_.emplace_back(r, owner_.decoder_.new_sequence(),
                         ending_ids(*owner_.tokenizer_, spec(), r.sampling));
    RolloutGroup& out = groups_.back().out;
    out.index = r.index;
    out.prompt = r.prompt;
    out.version = version;
    out.completions.resize(static_cast<size_t>(r.num_generations));
  }
}

Result<std::vector<RolloutGroup>> Generator::Batch::run() {
  while (waiting_ < groups_.size() || !active_.empty()) {
    TRY_DO(admit());
    if (!active_.empty()) TRY_DO(step());
  }
  std::vector<RolloutGroup> out;
  for (Group& g : groups_) out.push_back(std::move(g.out));
  return out;
}

// Fills the free places of the batch: runs the prompts of the groups that come next, starts completions and
// draws their first tokens.
Status Generator::Batch::admit() {
  int64_t room = owner_.options_.max_batch - static_cast<int64_t>(active_.size());
  if (room <= 0 || waiting_ == groups_.size()) return ok_status();
  std::vector<Group*> fresh;
  int64_t completions = 0;
  for (size_t g = waiting_; g < groups_.size() && completions < room; ++g) {
    if (groups_[g].started == 0) fresh.push_back(&groups_[g]);
    completions += groups_[g].request->num_generations - groups_[g].started;
  }
  TRY_DO(prefill(fresh));

  const size_t first = active_.size();
  for (; room > 0 && waiting_ < groups_.size(); --room) {
    active_.push_back(start(waiting_));
    if (groups_[waiting_].started == groups_[waiting_].request->num_generations) ++waiting_;
  }
  const std::span<Sequence> started = std::span(active_).subspan(first);
  draw(started, [&](size_t i) { return std::span<const float>(groups_[started[i].group].logits); });
  for (Sequence& s : started) {
    TRY_DO(take_in(s));
    Group& group = groups_[s.group];
    if (group.started == group.request->num_generations) group.logits = {};
  }
  std::erase_if(active_, [](const Sequence& s) { return s.finished; });
  return ok_status();
}

// Runs whole prompts, a portion of rows at a time, and keeps the logits after each.
Status Generator::Batch::prefill(std::span<Group*> groups) {
  struct Last {
    size_t row;
    Group* group;
  };
  std::vector<DecodeRow> rows;
  std::vector<Last> lasts;
  for (Group* g : groups) {
    for (const TokenId id : g->request->prompt.ids) rows.push_back({&g->prompt, id, false});
    rows.back().wants_logits = true;
    lasts.push_back({rows.size() - 1, g});
  }
  const size_t portion = kPrefillRows * static_cast<size_t>(owner_.workers_.count());
  size_t next = 0;
  for (size_t begin = 0; begin < rows.size(); begin += portion) {
    const auto part = std::span<const DecodeRow>(rows).subspan(begin, std::min(portion, rows.size() - begin));
    if (!owner_.decoder_.run(part, stop_)) return stopped();
    for (; next < lasts.size() && lasts[next].row < begin + part.size(); ++next) {
      const std::span<const float> logits = owner_.decoder_.logits(lasts[next].row - begin);
      lasts[next].group->logits.assign(logits.begin(), logits.end());
    }
  }
  return ok_status();
}

// The last completion of a group takes the prompt's pages over; those before share them.
Sequence Generator::Batch::start(size_t group) {
  Group& g = groups_[group];
  const int64_t generation = g.started++;
  const bool last = g.started == g.request->num_generations;
  Sequence s{.group = group,
             .generation = generation,
             .cache = last ? std::move(g.prompt) : g.prompt.fork(),
             .noise = noise_of(*g.request, generation)};
  const std::vector<std::string>& stops = g.request->sampling.stop;
  if (!stops.empty() || calls_.on_token) s.text = std::make_unique<StopText>(*owner_.tokenizer_, stops);
  return s;
}

// One token for every active sequence.
Status Generator::Batch::step() {
  std::vector<DecodeRow> rows;
  for (Sequence& s : active_) rows.push_back({&s.cache, s.completion.ids.back(), true});
  if (!owner_.decoder_.run(rows, stop_)) return stopped();
  draw(active_, [&](size_t i) { return owner_.decoder_.logits(i); });
  for (Sequence& s : active_) TRY_DO(take_in(s));
  std::erase_if(active_, [](const Sequence& s) { return s.finished; });
  return ok_status();
}

void Generator::Batch::draw(std::span<Sequence> sequences,
                            const std::function<std::span<const float>(size_t)>& logits_of) {
  const auto parts = std::min(owner_.workers_.count(), static_cast<int64_t>(sequences.size()));
  owner_.workers_.run(parts, [&](int64_t worker) {
    for (size_t i = static_cast<size_t>(worker); i < sequences.size(); i += static_cast<size_t>(parts)) {
      Sequence& s = sequences[i];
      s.next = owner_.samplers_[static_cast<size_t>(worker)].draw(
          logits_of(i), groups_[s.group].request->sampling, s.noise.uniform53_at(s.completion.ids.size()));
    }
  });
}

// Adds the drawn token to the completion and ends it if a rule says so.
Status Generator::Batch::take_in(Sequence& s) {
  const Group& group = groups_[s.group];
  const RolloutRequest& request = *group.request;
  if (!s.next) {
    return data_loss(
        where_of(request) + "the model's logits after token " + std::to_string(s.completion.ids.size()) +
        " of a completion are not finite: the weights are not, or they give numbers beyond fp32's "
        "range; in training, lower learning_rate");
  }
  const Draw draw = *s.next;
  s.completion.ids.push_back(draw.id);
  s.completion.logps.push_back(draw.logp);
  TokenEvent event{s.group, s.generation, draw.id, draw.logp, s.text ? s.text->push(draw.id) : ""};

  const auto length = static_cast<int64_t>(s.completion.ids.size());
  const bool stop = std::binary_search(group.ending_ids.begin(), group.ending_ids.end(), draw.id) ||
                    (s.text && s.text->found());
  const bool full =
      length >= request.sampling.max_completion_length ||
      static_cast<int64_t>(request.prompt.ids.size()) + length >= spec().max_position_embeddings;
  if (stop || full) {
    if (s.text) event.text += s.text->finish();
    finish(s, stop ? FinishReason::kStop : FinishReason::kLength);
  }
  if (calls_.on_token) calls_.on_token(event);
  if (s.finished && ++groups_[s.group].finished == request.num_generations && calls_.on_group) {
    calls_.on_group(s.group, group.out);
  }
  return ok_status();
}

void Generator::Batch::finish(Sequence& s, FinishReason reason) {
  s.finished = true;
  s.completion.finish = reason;
  s.completion.text = completion_text(*owner_.tokenizer_, s.completion.ids);
  groups_[s.group].out.completions[static_cast<size_t>(s.generation)] = std::move(s.completion);
}

Generator::Generator(std::shared_ptr<const DecodeModel> model, std::shared_ptr<const Tokenizer> tokenizer,
                     const GeneratorOptions& options)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      workers_(options.threads),
      decoder_(model_, workers_),
      samplers_(static_cast<size_t>(workers_.count())) {}

Result<std::vector<RolloutGroup>> Generator::generate(std::span<const RolloutRequest> requests,
                                                      PolicyVersion version, std::stop_token stop,
                                                      const GenerateCalls& calls) {
  for (const RolloutRequest& r : requests) TRY_DO(check_request(r, model_->spec()));
  try {
    return Batch(*this, requests, version, std::move(stop), calls).run();
  } catch (const std::bad_alloc&) {
    return resource_exhausted("not enough memory for " + std::to_string(options_.max_batch) +
                              " sequences at a time; lower rollout_max_batch or max_completion_length");
  }
}

}  // namespace fulcrum
