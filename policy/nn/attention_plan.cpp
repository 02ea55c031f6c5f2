#include "policy/nn/attention_plan.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <utility>

namespace fulcrum {
namespace {

using Segment = std::vector<int64_t>;  // token numbers

// Lengths are rounded up to a quarter of their octave, so that at most a fifth of a block is padding and
// blocks stay few: 1..8, 10, 12, 14, 16, 20, 24, ...
int64_t length_class(size_t length) {
  const auto n = static_cast<uint64_t>(std::max<size_t>(length, 8));
  const uint64_t step = std::max<uint64_t>(1, std::bit_floor(n - 1) / 4);
  return static_cast<int64_t>((n + step - 1) / step * step);
}

at::Tensor index_tensor(const std::vector<int64_t>& values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

TokenBlock make_block(const std::vector<const Segment*>& segments) {
  TokenBlock out;
  out.segments = static_cast<int64_t>(segments.size());
  for (const Segment* s : segments) out.length = std::max(out.length, static_cast<int64_t>(s->size()));
  std::vector<int64_t> tokens, padding;
  for (const Segment* s : segments) {
    tokens.insert(tokens.end(), s->begin(), s->end());
    for (auto i = static_cast<int64_t>(s->size()); i < out.length; ++i) {
      padding.push_back(static_cast<int64_t>(tokens.size()));
      tokens.push_back(s->back());
    }
  }
  out.token_S = index_tensor(tokens);
  out.padding_S = index_tensor(padding);
  return out;
}

at::Tensor make_key_mask(const TokenBlock& keys) {
  if (keys.padding_S.numel() == 0) return {};
  at::Tensor mask = at::zeros({keys.segments * keys.length}, at::kFloat);
  mask.index_fill_(0, keys.padding_S, -std::numeric_limits<double>::infinity());
  return mask.view({keys.segments, 1, 1, keys.length});
}

TokenSlots find_slots(const std::vector<const TokenBlock*>& blocks, int64_t num_tokens) {
  std::vector<int64_t> slots(static_cast<size_t>(num_tokens), -1);
  int64_t base = 0;
  for (const TokenBlock* block : blocks) {
    const int64_t n = block->token_S.numel();
    const int64_t* token = block->token_S.const_data_ptr<int64_t>();
    // Padding repeats a segment's last token behind it: the first slot is the real one.
    for (int64_t i = 0; i < n; ++i) {
      int64_t& slot = slots[static_cast<size_t>(token[i])];
      if (slot < 0) slot = base + i;
    }
    base += n;
  }
  TokenSlots out;
  std::vector<float> present;
  for (int64_t& slot : slots) {
    present.push_back(slot < 0 ? 0.0f : 1.0f);
    slot = std::max<int64_t>(slot, 0);
  }
  out.slot_T = index_tensor(slots);
  if (std::find(present.begin(), present.end(), 0.0f) != present.end()) {
    out.present_T1 = at::tensor(at::ArrayRef<float>(present), at::kFloat).view({num_tokens, 1});
  }
  return out;
}

Segment token_range(int64_t begin, int64_t end) {
  Segment out;
  for (int64_t t = begin; t < end; ++t) out.push_back(t);
  return out;
}

}  // namespace

AttentionPlan::AttentionPlan(const TrainBatch& batch) {
  std::vector<Segment> prompts, completions, continued(batch.groups.size());
  for (const BatchGroup& g : batch.groups) prompts.push_back(token_range(g.prompt_begin, g.prompt_end));
  for (const BatchRow& row : batch.rows) {
    if (row.token_begin == row.token_end) continue;
    completions.push_back(token_range(row.token_begin, row.token_end));
    Segment& all = continued[static_cast<size_t>(row.group)];
    all.insert(all.end(), completions.back().begin(), completions.back().end());
  }

  std::map<int64_t, std::vector<const Segment*>> by_length;
  for (const Segment& s : prompts) by_length[length_class(s.size())].push_back(&s);
  for (const Segment& s : completions) by_length[length_class(s.size())].push_back(&s);
  for (const auto& [length, segments] : by_length) self.push_back(make_block(segments));

  using Pair = std::pair<std::vector<const Segment*>, std::vector<const Segment*>>;
  std::map<std::pair<int64_t, int64_t>, Pair> by_lengths;
  for (size_t g = 0; g < continued.size(); ++g) {
    if (continued[g].empty()) continue;
    Pair& pair = by_lengths[{length_class(continued[g].size()), length_class(prompts[g].size())}];
    pair.first.push_back(&continued[g]);
    pair.second.push_back(&prompts[g]);
  }
  for (const auto& [lengths, pair] : by_lengths) {
    CrossBlock block{make_block(pair.first), make_block(pair.second), {}};
    block.key_mask = make_key_mask(block.keys);
    cross.push_back(std::move(block));
  }

  std::vector<const TokenBlock*> selves, queries, keys;
  for (const TokenBlock& b : self) selves.push_back(&b);
  for (const CrossBlock& b : cross) {
    queries.push_back(&b.queries);
    keys.push_back(&b.keys);
  }
  self_slots = find_slots(selves, batch.num_tokens());
  query_slots = find_slots(queries, batch.num_tokens());
  key_slots = find_slots(keys, batch.num_tokens());
}

}  // namespace fulcrum
