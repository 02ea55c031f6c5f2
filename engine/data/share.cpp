#include "engine/data/share.h"

#include <algorithm>

namespace fulcrum {
namespace {

struct Weighed {
  RowRange range;
  int64_t tokens = 0;
};

bool in_order(const RowRange& a, const RowRange& b) { return a.begin < b.begin; }

}  // namespace

std::vector<std::vector<RowRange>> deal_micro_batches(const TrainBatch& batch, int64_t max_tokens, bool pairs,
                                                      int64_t ranks) {
  if (ranks == 1) return {micro_batches(batch, max_tokens, pairs)};
  const int64_t share = (batch.num_tokens() + ranks - 1) / ranks;
  std::vector<Weighed> pieces;
  for (const RowRange range : micro_batches(batch, std::min(max_tokens, share), pairs))
    pieces.push_back({range, range_tokens(batch, range)});
  std::ranges::stable_sort(pieces, std::greater{}, &Weighed::tokens);
  std::vector<std::vector<RowRange>> out(static_cast<size_t>(ranks));
  std::vector<int64_t> load(out.size(), 0);
  for (const Weighed& piece : pieces) {
    const auto least = static_cast<size_t>(std::ranges::min_element(load) - load.begin());
    out[least].push_back(piece.range);
    load[least] += piece.tokens;
  }
  for (std::vector<RowRange>& mine : out) std::ranges::sort(mine, in_order);
  return out;
}

}  // namespace fulcrum
