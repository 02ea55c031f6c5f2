#include "rollout/device_generator.h"

#include <algorithm>
#include <functional>
#include <new>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "policy/decode/device/device_decoder.h"
#include "policy/decode/device/device_pages.h"
#include "rollout/completion_book.h"

namespace fulcrum {
namespace {

using kernels::kPagePositions;

int64_t pages_of(int64_t positions) { return (positions + kPagePositions - 1) / kPagePositions; }

// A completion that is being drawn, in a place of the decoder.
struct Sequence {
  OpenCompletion completion;
  PageList pages;
  int32_t table = 0;
};

// What a round starts, beside the sequences.
struct Admission {
  std::vector<DevicePrompt> prompts;
  std::vector<std::pair<int32_t, int32_t>> copies;  // of pages
  std::vector<FirstDraw> draws;
  std::vector<PageList> released;  // free for others only when the copies are under way
  std::optional<int32_t> keep;     // the prompt whose group has more to start
};

kernels::DeviceSlot slot_of(const SamplingParams& p, std::span<const TokenId> endings, int64_t room,
                            int64_t vocabulary) {
  kernels::DeviceSlot slot;
  slot.greedy = p.temperature == 0;
  slot.temperature = slot.greedy ? 1.0f : static_cast<float>(p.temperature);
  slot.top_k = p.top_k < vocabulary ? static_cast<int32_t>(p.top_k) : 0;
  slot.top_p = p.top_p;
  slot.min_p = p.min_p;
  slot.remaining = static_cast<int32_t>(std::min<int64_t>(room, INT32_MAX));
  // The host looks at all of them; those past the slot's only end a sequence some tokens later.
  std::fill(std::begin(slot.endings), std::end(slot.endings), -1);
  std::copy_n(endings.begin(), std::min<size_t>(endings.size(), kernels::kSlotEndings), slot.endings);
  return slot;
}

}  // namespace

class DeviceGenerator::Batch {
 public:
  Batch(const DeviceGenerator& owner, std::span<const RolloutRequest> requests, PolicyVersion version,
        std::stop_token stop, const GenerateCalls& calls)
      : owner_(owner),
        stop_(std::move(stop)),
        book_(requests, version, *owner.tokenizer_, owner.model_->spec(), calls) {}
  Result<std::vector<RolloutGroup>> run();

 private:
  Status make_decoder();
  Status round();
  Result<Admission> admit();
  bool start(Admission& admission);
  Status send(const Admission& admission);
  Status take_in();
  void leave_places();
  Status short_of_memory() const;
  int64_t own_pages(size_t group) const;
  Status stopped() const { return cancelled("the generation was cancelled"); }
  // Positions whose keys are stored, of a completion of the group: its last token's are not.
  int64_t positions(size_t group) const {
    return static_cast<int64_t>(book_.request(group).prompt.ids.size()) + book_.room(group) - 1;
  }

  const DeviceGenerator& owner_;
  std::stop_token stop_;
  CompletionBook book_;
  std::unique_ptr<DeviceDecoder> decoder_;
  PageList prompt_pages_;         // of the group that has started and has more to start
  std::vector<Sequence> active_;  // in the decoder's places, in this order
  std::vector<int32_t> tables_;   // free
};

Result<std::vector<RolloutGroup>> DeviceGenerator::Batch::run() {
  if (book_.size() > 0) TRY_DO(make_decoder());
  while (book_.waiting() < book_.size() || !active_.empty()) TRY_DO(round());
  return book_.groups();
}

// Large enough for as many of the longest completions as run at a time, and a prompt beside them.
Status DeviceGenerator::Batch::make_decoder() {
  std::vector<int64_t> pages;
  int64_t longest = 0, prompt = 0;
  for (size_t g = 0; g < book_.size(); ++g) {
    pages.insert(pages.end(), static_cast<size_t>(book_.request(g).num_generations), pages_of(positions(g)));
    longest = std::max(longest, positions(g));
    prompt = std::max(prompt, static_cast<int64_t>(book_.request(g).prompt.ids.size()));
  }
  std::sort(pages.begin(), pages.end(), std::greater());
  const int64_t places = std::clamp<int64_t>(owner_.options_.max_batch, 1, DeviceDecoder::kMostPlaces);
  pages.resize(std::min(pages.size(), static_cast<size_t>(places)));
  DeviceDecoder::Size size{.places = static_cast<int64_t>(pages.size()), .longest = longest};
  size.pages = std::accumulate(pages.begin(), pages.end(), pages_of(prompt));
  auto decoder = DeviceDecoder::create(owner_.model_, owner_.options_.device, size);
  if (!decoder.ok()) {
    if (decoder.status().code() != Code::kResourceExhausted) return decoder.status();
    return decoder.status().with_context(out_of_memory(size.places).message());
  }
  decoder_ = std::move(decoder).value();
  prompt_pages_ = PageList(decoder_->pages());
  for (int64_t t = size.places; t > 0; --t) tables_.push_back(static_cast<int32_t>(t - 1));
  return ok_status();
}

Status DeviceGenerator::Batch::round() {
  if (stop_.stop_requested()) return stopped();
  TRY(admission, admit());
  for (size_t i = 0; i < active_.size(); ++i) {
    const OpenCompletion& c = active_[i].completion;
    kernels::DeviceSlot& slot = decoder_->slot(static_cast<int64_t>(i));
    slot.drawn = 0;
    for (size_t t = 0; t < kernels::kSlotDraws; ++t)
      slot.uniforms[t] = c.uniform(c.completion.ids.size() + t);
  }
  TRY_DO(decoder_->begin(static_cast<int64_t>(active_.size())));
  TRY_DO(send(admission));
  admission.released.clear();
  TRY_DO(decoder_->run_steps());
  TRY_DO(take_in());
  leave_places();
  return ok_status();
}

// Starts completions as long as there is a place and memory.
Result<Admission> DeviceGenerator::Batch::admit() {
  Admission admission;
  while (book_.waiting() < book_.size() && !tables_.empty() && start(admission)) {
  }
  if (active_.empty()) return short_of_memory();
  const size_t waiting = book_.waiting();
  const bool unfinished = waiting < book_.size() && book_.started(waiting) > 0;
  if (unfinished && !admission.draws.empty() && admission.draws.back().logits != decoder_->kept_logits())
    admission.keep = admission.draws.back().logits;
  for (size_t i = active_.size() - admission.draws.size(); i < active_.size(); ++i)
    TRY_DO(decoder_->set_table(active_[i].table, active_[i].pages.pages()));
  return admission;
}

// That the group's next completion does not share.
int64_t DeviceGenerator::Batch::own_pages(size_t group) const {
  const auto prompt = static_cast<int64_t>(book_.request(group).prompt.ids.size());
  return pages_of(positions(group)) - (book_.started(group) == 0 ? 0 : prompt / kPagePositions);
}

// Starts the next completion, unless it lacks memory. The first of a group runs the prompt in pages of its
// own, which the group holds until all have started; those after it share the full ones and copy the last if
// it is not full. What the first has written behind the prompt by then is copied too, and overwritten before
// it is read.
bool DeviceGenerator::Batch::start(Admission& admission) {
  const size_t group = book_.waiting();
  const RolloutRequest& request = book_.request(group);
  const bool first = book_.started(group) == 0;
  const auto prompt = static_cast<int64_t>(request.prompt.ids.size());
  const int64_t full = first ? 0 : prompt / kPagePositions, own = own_pages(group);
  if (own > decoder_->pages().free()) return false;

  Sequence s{.completion = book_.start(), .pages = PageList(decoder_->pages()), .table = tables_.back()};
  tables_.pop_back();
  s.pages.share(prompt_pages_.pages().first(static_cast<size_t>(full)));
  s.pages.take(own);
  int32_t logits = decoder_->kept_logits();
  if (first) {
    logits = static_cast<int32_t>(admission.prompts.size());
    admission.prompts.push_back({request.prompt.ids, s.table});
    prompt_pages_ = PageList(decoder_->pages());
    prompt_pages_.share(s.pages.pages().first(static_cast<size_t>(pages_of(prompt))));
  } else {
    if (!admission.draws.empty() && active_.back().completion.group == group)
      logits = admission.draws.back().logits;
    if (prompt % kPagePositions != 0) {
      const auto last = static_cast<size_t>(full);
      admission.copies.emplace_back(prompt_pages_.pages()[last], s.pages.pages()[last]);
    }
  }
  if (book_.not_started(group) == 0)
    admission.released.push_back(std::exchange(prompt_pages_, PageList(decoder_->pages())));

  const auto place = static_cast<int64_t>(active_.size());
  decoder_->row(place) = {0, static_cast<int32_t>(prompt) - 1, s.table, 1};
  decoder_->slot(place) =
      slot_of(request.sampling, book_.ending_ids(group), book_.room(group), owner_.model_->spec().vocab_size);
  admission.draws.push_back({logits, static_cast<int32_t>(place)});
  active_.push_back(std::move(s));
  return true;
}

Status DeviceGenerator::Batch::send(const Admission& admission) {
  TRY_DO(decoder_->prefill(admission.prompts, stop_));
  for (const auto& [from, to] : admission.copies) TRY_DO(decoder_->copy_page(from, to));
  if (!admission.draws.empty()) TRY_DO(decoder_->draw_first(admission.draws));
  if (admission.keep) TRY_DO(decoder_->keep_logits(*admission.keep));
  return ok_status();
}

// The tokens of this round, in the order of their steps. What was drawn behind a stop text is left out.
Status DeviceGenerator::Batch::take_in() {
  for (int t = 0; t < kernels::kSlotDraws; ++t) {
    if (stop_.stop_requested()) return stopped();
    for (size_t i = 0; i < active_.size(); ++i) {
      OpenCompletion& c = active_[i].completion;
      const kernels::DeviceSlot& slot = decoder_->slot(static_cast<int64_t>(i));
      if (c.finished) continue;
      if (t < slot.drawn) TRY_DO(book_.take_in(c, Draw{slot.ids[t], slot.logps[t]}));
      if (t == slot.drawn && slot.failed) TRY_DO(book_.take_in(c, std::nullopt));
    }
  }
  for (size_t i = 0; i < active_.size(); ++i) {
    if (!active_[i].completion.finished && !decoder_->row(static_cast<int64_t>(i)).live)
      return internal_error("the accelerator ended a completion that the rules do not end");
  }
  return ok_status();
}

// The last sequence takes the place of one that has finished.
void DeviceGenerator::Batch::leave_places() {
  for (size_t i = 0; i < active_.size();) {
    if (!active_[i].completion.finished) {
      ++i;
      continue;
    }
    const size_t last = active_.size() - 1;
    tables_.push_back(active_[i].table);
    if (i != last) {
      active_[i] = std::move(active_[last]);
      decoder_->row(static_cast<int64_t>(i)) = decoder_->row(static_cast<int64_t>(last));
      decoder_->slot(static_cast<int64_t>(i)) = decoder_->slot(static_cast<int64_t>(last));
    }
    active_.pop_back();
  }
}

// Nothing runs that could give pages back.
Status DeviceGenerator::Batch::short_of_memory() const {
  const size_t group = book_.waiting();
  const int64_t pages = own_pages(group) + static_cast<int64_t>(prompt_pages_.pages().size());
  return resource_exhausted("the accelerator's memory is not enough for a completion of " +
                            std::to_string(positions(group)) + " tokens with its prompt: it takes " +
                            std::to_string(pages) + " pages of keys and values, and " +
                            std::to_string(decoder_->pages().count()) +
                            " are there; lower rollout_max_batch or max_completion_length");
}

DeviceGenerator::DeviceGenerator(std::shared_ptr<const DeviceModel> model,
                                 std::shared_ptr<const Tokenizer> tokenizer, const GeneratorOptions& options)
    : model_(std::move(model)), tokenizer_(std::move(tokenizer)), options_(options) {}

Result<std::vector<RolloutGroup>> DeviceGenerator::generate(std::span<const RolloutRequest> requests,
                                                            PolicyVersion version, std::stop_token stop,
                                                            const GenerateCalls& calls) {
  TRY_DO(check_requests(requests, model_->spec()));
  try {
    return Batch(*this, requests, version, std::move(stop), calls).run();
  } catch (const std::bad_alloc&) {  // the host's
    return out_of_memory(options_.max_batch);
  }
}

}  // namespace fulcrum
