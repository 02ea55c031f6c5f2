#include "engine/learner/rank_share.h"

#include <algorithm>
#include <array>

#include "engine/data/share.h"

namespace fulcrum {
namespace {

constexpr const char* kPurpose = "log-probs";

size_t first_target(const TrainBatch& batch, RowRange range) {
  return static_cast<size_t>(batch.rows[static_cast<size_t>(range.begin)].target_begin);
}

}  // namespace

std::vector<RowRange> my_share(const Collective& group, const TrainBatch& batch, int64_t max_tokens,
                               bool pairs) {
  return deal_micro_batches(batch, max_tokens, pairs, group.size())[static_cast<size_t>(group.rank())];
}

void put_targets(const TrainBatch& batch, RowRange range, const at::Tensor& values_N,
                 std::vector<float>& into) {
  if (!values_N.defined()) return;
  const at::Tensor host_N = values_N.to(at::kCPU);
  std::copy_n(host_N.const_data_ptr<float>(), host_N.numel(),
              into.begin() + static_cast<int64_t>(first_target(batch, range)));
}

Result<std::vector<float>> shared_logps(Agreement& ranks, const TrainBatch& batch, int64_t max_tokens,
                                        bool only_leader, const LogpsOf& logps) {
  if (ranks.alone()) return logps(batch);
  ranks.begin();
  std::vector<float> out(batch.target_ids.size(), 0);
  if (only_leader) {
    if (ranks.group().rank() == 0) {
      TRY(all, logps(batch));
      out = std::move(all);
    }
  } else {
    for (const RowRange range : my_share(ranks.group(), batch, max_tokens, /*pairs=*/false)) {
      const TrainBatch part = slice(batch, range);
      if (part.num_targets() == 0) continue;
      TRY(some, logps(part));
      std::ranges::copy(some, out.begin() + static_cast<int64_t>(first_target(batch, range)));
    }
  }
  TRY_DO(ranks.exchange(nullptr, kPurpose));
  const std::array values = {&out};
  TRY_DO(sum_values(ranks.group(), values, kPurpose));
  return out;
}

}  // namespace fulcrum
