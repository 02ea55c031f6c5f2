#include "rollout/generator.h"

#include <algorithm>
#include <functional>
#include <new>
#include <optional>
#include <utility>

#include "rollout/completion_book.h"

namespace fulcrum {
namespace {

constexpr size_t kPrefillRows =
    64;  // prompt tokens that run between two looks at the stop token, for each thread

// A prompt whose completions have not all started.
struct PromptState {
  KvSequence cache;
  std::vector<float> logits;  // after the prompt: every completion's first token is drawn from them
};

// A completion that is being drawn.
struct Sequence {
  KvSequence cache;
  OpenCompletion completion;
  std::optional<Draw> next;  // drawn, not yet taken in
};

}  // namespace

class Generator::Batch {
 public:
  Batch(Generator& owner, std::span<const RolloutRequest> requests, PolicyVersion version,
        std::stop_token stop, const GenerateCalls& calls);
  Result<std::vector<RolloutGroup>> run();

 private:
  Status admit();
  Status prefill(std::span<const size_t> groups);
  Sequence start();
  Status step();
  void draw(std::span<Sequence> sequences, const std::function<std::span<const float>(size_t)>& logits_of);
  Status take_in(Sequence& s) { return book_.take_in(s.completion, s.next); }
  void drop_finished() {
    std::erase_if(active_, [](const Sequence& s) { return s.completion.finished; });
  }
  Status stopped() const { return cancelled("the generation was cancelled"); }

  Generator& owner_;
  std::stop_token stop_;
  CompletionBook book_;
  std::vector<PromptState> prompts_;  // by group
  std::vector<Sequence> active_;
};

Generator::Batch::Batch(Generator& owner, std::span<const RolloutRequest> requests, PolicyVersion version,
                        std::stop_token stop, const GenerateCalls& calls)
    : owner_(owner),
      stop_(std::move(stop)),
      book_(requests, version, *owner.tokenizer_, owner.model_->spec(), calls) {
  for (size_t g = 0; g < book_.size(); ++g) prompts_.push_back({owner_.decoder_.new_sequence(), {}});
}

Result<std::vector<RolloutGroup>> Generator::Batch::run() {
  while (book_.waiting() < book_.size() || !active_.empty()) {
    TRY_DO(admit());
    if (!active_.empty()) TRY_DO(step());
  }
  return book_.groups();
}

// Fills the free places of the batch: runs the prompts of the groups that come next, starts completions and
// draws their first tokens.
Status Generator::Batch::admit() {
  int64_t room = owner_.options_.max_batch - static_cast<int64_t>(active_.size());
  if (room <= 0 || book_.waiting() == book_.size()) return ok_status();
  std::vector<size_t> fresh;
  int64_t completions = 0;
  for (size_t g = book_.waiting(); g < book_.size() && completions < room; ++g) {
    if (book_.started(g) == 0) fresh.push_back(g);
    completions += book_.not_started(g);
  }
  TRY_DO(prefill(fresh));

  const size_t first = active_.size();
  for (; room > 0 && book_.waiting() < book_.size(); --room) active_.push_back(start());
  const std::span<Sequence> started = std::span(active_).subspan(first);
  draw(started,
       [&](size_t i) { return std::span<const float>(prompts_[started[i].completion.group].logits); });
  for (Sequence& s : started) {
    TRY_DO(take_in(s));
    const size_t group = s.completion.group;
    if (book_.not_started(group) == 0) prompts_[group].logits = {};
  }
  drop_finished();
  return ok_status();
}

// Runs whole prompts, a portion of rows at a time, and keeps the logits after each.
Status Generator::Batch::prefill(std::span<const size_t> groups) {
  struct Last {
    size_t row;
    PromptState* prompt;
  };
  std::vector<DecodeRow> rows;
  std::vector<Last> lasts;
  for (const size_t g : groups) {
    for (const TokenId id : book_.request(g).prompt.ids) rows.push_back({&prompts_[g].cache, id, false});
    rows.back().wants_logits = true;
    lasts.push_back({rows.size() - 1, &prompts_[g]});
  }
  const size_t portion = kPrefillRows * static_cast<size_t>(owner_.workers_.count());
  size_t next = 0;
  for (size_t begin = 0; begin < rows.size(); begin += portion) {
    const auto part = std::span<const DecodeRow>(rows).subspan(begin, std::min(portion, rows.size() - begin));
    if (!owner_.decoder_.run(part, stop_)) return stopped();
    for (; next < lasts.size() && lasts[next].row < begin + part.size(); ++next) {
      const std::span<const float> logits = owner_.decoder_.logits(lasts[next].row - begin);
      lasts[next].prompt->logits.assign(logits.begin(), logits.end());
    }
  }
  return ok_status();
}

// The last completion of a group takes the prompt's pages over; those before share them.
Sequence Generator::Batch::start() {
  OpenCompletion completion = book_.start();
  KvSequence& prompt = prompts_[completion.group].cache;
  const bool last = book_.not_started(completion.group) == 0;
  return {.cache = last ? std::move(prompt) : prompt.fork(), .completion = std::move(completion)};
}

// One token for every active sequence.
Status Generator::Batch::step() {
  std::vector<DecodeRow> rows;
  for (Sequence& s : active_) rows.push_back({&s.cache, s.completion.completion.ids.back(), true});
  if (!owner_.decoder_.run(rows, stop_)) return stopped();
  draw(active_, [&](size_t i) { return owner_.decoder_.logits(i); });
  for (Sequence& s : active_) TRY_DO(take_in(s));
  drop_finished();
  return ok_status();
}

void Generator::Batch::draw(std::span<Sequence> sequences,
                            const std::function<std::span<const float>(size_t)>& logits_of) {
  const auto parts = std::min(owner_.workers_.count(), static_cast<int64_t>(sequences.size()));
  owner_.workers_.run(parts, [&](int64_t worker) {
    for (size_t i = static_cast<size_t>(worker); i < sequences.size(); i += static_cast<size_t>(parts)) {
      const OpenCompletion& c = sequences[i].completion;
      sequences[i].next = owner_.samplers_[static_cast<size_t>(worker)].draw(
          logits_of(i), book_.request(c.group).sampling, c.uniform(c.completion.ids.size()));
    }
  });
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
  TRY_DO(check_requests(requests, model_->spec()));
  try {
    return Batch(*this, requests, version, std::move(stop), calls).run();
  } catch (const std::bad_alloc&) {
    return out_of_memory(options_.max_batch);
  }
}

}  // namespace fulcrum
