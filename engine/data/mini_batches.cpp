#include "engine/data/mini_batches.h"

#include <algorithm>

namespace fulcrum {
namespace {

std::vector<int64_t> groups_of_kind(const TrainBatch& batch, bool rehearsal) {
  std::vector<int64_t> out;
  for (int64_t g = 0; g < std::ssize(batch.groups); ++g) {
    const BatchGroup& group = batch.groups[static_cast<size_t>(g)];
    if (group.row_begin == group.row_end) continue;
    if (batch.rows[static_cast<size_t>(group.row_begin)].rehearsal == rehearsal) out.push_back(g);
  }
  return out;
}

}  // namespace

std::vector<std::vector<int64_t>> deal_groups(const TrainBatch& batch, int64_t count, Rng& rng) {
  const std::vector<int64_t> exploration = groups_of_kind(batch, false);
  const auto hands =
      static_cast<size_t>(std::clamp<int64_t>(count, 1, std::max<int64_t>(std::ssize(exploration), 1)));
  std::vector<std::vector<int64_t>> out(hands);
  const auto deal = [&](const std::vector<int64_t>& groups, bool from_the_last) {
    const std::vector<int64_t> order = rng.permutation(std::ssize(groups));
    for (size_t i = 0; i < order.size(); ++i) {
      const size_t hand = from_the_last ? hands - 1 - i % hands : i % hands;
      out[hand].push_back(groups[static_cast<size_t>(order[i])]);
    }
  };
  deal(exploration, false);
  deal(groups_of_kind(batch, true),
       true);  // where neither comes out even, no minibatch gets one more of both
  for (std::vector<int64_t>& hand : out) std::sort(hand.begin(), hand.end());
  return out;
}

}  // namespace fulcrum
