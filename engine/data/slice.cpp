#include "engine/data/slice.h"

#include <algorithm>
#include <span>
#include <utility>

#include "engine/data/pack.h"

namespace fulcrum {
namespace {

template <class T>
std::span<const T> part(const std::vector<T>& values, int64_t begin, int64_t end) {
  return std::span(values).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
}

// What rows [from, to) add to a range that begins at `begin`.
int64_t cost(const TrainBatch& batch, int64_t begin, int64_t from, int64_t to) {
  int64_t tokens = 0;
  for (int64_t r = from; r < to; ++r) {
    const BatchRow& row = batch.rows[static_cast<size_t>(r)];
    const BatchGroup& group = batch.groups[static_cast<size_t>(row.group)];
    if (r == begin || r == group.row_begin) tokens += group.prompt_end - group.prompt_begin;
    tokens += row.token_end - row.token_begin;
  }
  return tokens;
}

// Grows the current range by what fits and closes it where nothing does.
class Cutter {
 public:
  Cutter(const TrainBatch& batch, int64_t max_tokens) : batch_(batch), max_tokens_(max_tokens) {}

  // Whether rows up to `end` fit into an empty range.
  bool fits_alone(int64_t begin, int64_t end) const { return cost(batch_, begin, begin, end) <= max_tokens_; }

  // Puts the next rows, up to `end`, into the current range if they fit, else into a new one.
  void add(int64_t end) {
    int64_t more = cost(batch_, current_.begin, current_.end, end);
    if (current_.begin < current_.end && tokens_ + more > max_tokens_) {
      close();
      more = cost(batch_, current_.begin, current_.end, end);
    }
    tokens_ += more;
    current_.end = end;
  }

  std::vector<RowRange> finish() {
    if (current_.begin < current_.end) close();
    return std::move(ranges_);
  }

 private:
  void close() {
    ranges_.push_back(current_);
    current_ = {current_.end, current_.end};
    tokens_ = 0;
  }

  const TrainBatch& batch_;
  int64_t max_tokens_;
  RowRange current_;
  int64_t tokens_ = 0;
  std::vector<RowRange> ranges_;
};

TrainBatch copy_rows(const TrainBatch& batch, std::span<const RowRange> ranges) {
  BatchBuilder builder;
  for (const RowRange range : ranges) {
    for (int64_t r = range.begin; r < range.end; ++r) {
      const BatchRow& row = batch.rows[static_cast<size_t>(r)];
      const BatchGroup& group = batch.groups[static_cast<size_t>(row.group)];
      if (r == range.begin || r == group.row_begin) {
        builder.begin_group(part(batch.tokens, group.prompt_begin, group.prompt_end));
      }
      builder.add_row(part(batch.tokens, row.token_begin, row.token_end), row);
    }
  }
  TrainBatch out = builder.take();
  out.denominator = batch.denominator;
  out.rehearsal_denominator = batch.rehearsal_denominator;
  out.kl_coefficient = batch.kl_coefficient;
  out.target_mask.clear();
  for (const RowRange range : ranges) {
    if (range.begin >= range.end) continue;
    const int64_t begin = batch.rows[static_cast<size_t>(range.begin)].target_begin;
    const int64_t end = batch.rows[static_cast<size_t>(range.end - 1)].target_end;
    const auto append = [&](const auto& from, auto& to) {
      if (from.empty()) return;
      const auto values = part(from, begin, end);
      to.insert(to.end(), values.begin(), values.end());
    };
    append(batch.target_mask, out.target_mask);
    for (const auto array : {&TrainBatch::sampling_logps, &TrainBatch::stored_logps, &TrainBatch::old_logps,
                             &TrainBatch::reference_logps, &TrainBatch::old_values, &TrainBatch::advantages,
                             &TrainBatch::returns})
      append(batch.*array, out.*array);
  }
  return out;
}

}  // namespace

std::vector<RowRange> micro_batches(const TrainBatch& batch, int64_t max_tokens, bool pairs) {
  const int64_t unit = pairs ? 2 : 1;
  Cutter cutter(batch, max_tokens);
  int64_t begin = 0;
  for (const BatchGroup& group : batch.groups) {
    // A group that ends inside a pair is cut together with the next one.
    const bool inside_pair = group.row_end % unit != 0 && group.row_end != batch.num_rows();
    if (inside_pair || group.row_end == begin) continue;
    if (cutter.fits_alone(begin, group.row_end)) {
      cutter.add(group.row_end);
    } else {
      for (int64_t end = begin; end < group.row_end;) cutter.add(end = std::min(end + unit, group.row_end));
    }
    begin = group.row_end;
  }
  return cutter.finish();
}

std::vector<RowRange> target_ranges(const TrainBatch& batch, int64_t max_targets, bool pairs) {
  const int64_t unit = pairs ? 2 : 1;
  std::vector<RowRange> out;
  int64_t targets = 0;
  for (int64_t r = 0; r < batch.num_rows(); r += unit) {
    const int64_t end = std::min(r + unit, batch.num_rows());
    const int64_t more =
        batch.rows[static_cast<size_t>(end - 1)].target_end - batch.rows[static_cast<size_t>(r)].target_begin;
    if (out.empty() || (targets > 0 && more > 0 && targets + more > max_targets)) {
      out.push_back({r, r});
      targets = 0;
    }
    out.back().end = end;
    targets += more;
  }
  return out;
}

int64_t range_tokens(const TrainBatch& batch, RowRange range) {
  return cost(batch, range.begin, range.begin, range.end);
}

TrainBatch slice(const TrainBatch& batch, RowRange range) { return copy_rows(batch, {&range, 1}); }

TrainBatch gather(const TrainBatch& batch, std::span<const int64_t> groups) {
  std::vector<RowRange> ranges;
  for (const int64_t g : groups) {
    const BatchGroup& group = batch.groups[static_cast<size_t>(g)];
    ranges.push_back({group.row_begin, group.row_end});
  }
  return copy_rows(batch, ranges);
}

}  // namespace fulcrum
