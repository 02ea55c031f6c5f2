// What has changed in lists of weights against the CPU's reference.
#include <deque>

#include "engine/kernels/weight_changes/op.h"
#include "tests/unit/engine/kernels/cuda/cuda_testing.h"

namespace fulcrum::kernels {
namespace {

// Weights and what was published of them, of which this share has changed.
class Weights {
 public:
  Weights(const std::vector<int64_t>& sizes, double changed, int offset) {
    Rng rng(7, Purpose::kTest);
    for (size_t i = 0; i < sizes.size(); ++i) {
      const int64_t n = sizes[i];
      const std::vector<float> weights = random_row(n, i);
      std::vector<uint16_t> published = in_bf16(weights);
      for (uint16_t& bits : published) {
        if (rng.uniform() < changed) bits = static_cast<uint16_t>(bits + 1 + rng.below(65535));
      }
      arrays_.emplace_back(weights, published, offset);
      list_.push_back({.weights = arrays_.back().weights.data(),
                       .n = n,
                       .first_piece = pieces_,
                       .rounded = arrays_.back().published.data()});
      pieces_ += (n + kTrainedPiece - 1) / kTrainedPiece;
    }
  }
  TrainedList list() const { return {list_.data(), static_cast<int64_t>(list_.size()), pieces_}; }
  std::vector<uint16_t> published() {
    std::vector<uint16_t> out;
    for (auto& a : arrays_) {
      const auto values = a.published.values();
      out.insert(out.end(), values.begin(), values.end());
    }
    return out;
  }
  // The reference's changes, piece after piece.
  std::vector<WeightChange> step_reference(std::vector<int64_t>& begins) {
    std::vector<WeightChange> out;
    for (const TrainedTensor& t : list_) {
      for (int64_t begin = 0; begin < t.n; begin += kTrainedPiece) {
        const int64_t n = std::min(kTrainedPiece, t.n - begin);
        std::vector<WeightChange> piece(static_cast<size_t>(n));
        piece.resize(static_cast<size_t>(reference::weight_changes(
            t.weights + begin, n, static_cast<uint16_t*>(t.rounded) + begin, piece.data())));
        begins.push_back(static_cast<int64_t>(out.size()));
        out.insert(out.end(), piece.begin(), piece.end());
      }
    }
    begins.push_back(static_cast<int64_t>(out.size()));
    return out;
  }

 private:
  struct Arrays {
    Arrays(const std::vector<float>& w, const std::vector<uint16_t>& p, int offset)
        : weights(w, offset), published(p, offset) {}
    Guarded<float> weights;
    Guarded<uint16_t> published;
  };
  std::deque<Arrays> arrays_;
  std::vector<TrainedTensor> list_;
  int64_t pieces_ = 0;
};

struct Got {
  std::vector<int64_t> begins;
  std::vector<WeightChange> changes;
  std::vector<uint16_t> published;
};
Got changes_of(const std::vector<int64_t>& sizes, double changed, int offset, size_t room) {
  Got out;
  Weights weights(sizes, changed, offset);
  Guarded<int64_t> begins(static_cast<size_t>(weights.list().pieces) + 1, 0, -1);
  Guarded<WeightChange> changes(room, offset, 0);
  const ChangedWeights into{begins.data(), changes.data(), static_cast<int64_t>(room)};
  EXPECT_EQ(cuda::weight_changes(weights.list(), into, nullptr), 0);
  return {begins.values(), changes.values(), weights.published()};
}

void expect_the_references(const std::vector<int64_t>& sizes, double changed, int offset, size_t room) {
  const std::string where = std::to_string(changed) + ", offset " + std::to_string(offset);
  Weights weights(sizes, changed, 0);
  std::vector<int64_t> begins;
  std::vector<WeightChange> want = weights.step_reference(begins);
  want.resize(room);
  const Got got = changes_of(sizes, changed, offset, room);
  expect_bits(got.begins, begins, ("begins, " + where).c_str());
  expect_bits(got.changes, want, ("changes, " + where).c_str());
  expect_bits(got.published, weights.published(), ("published, " + where).c_str());
}

const std::vector<int64_t> kSizes = {0, 1, 3, 4, 5, 0, 1027, kTrainedPiece, 2 * kTrainedPiece + 5, 255, 0};

TEST(CudaWeightChanges, AreTheReferencesInTheOrderOfTheWeights) {
  for (const int offset : kOffsets) {
    for (const double changed : {0.0, 0.001, 0.01, 0.3, 1.0}) {
      size_t most = 1;
      for (const int64_t n : kSizes) most += static_cast<size_t>(n);
      expect_the_references(kSizes, changed, offset, most);
    }
  }
}

TEST(CudaWeightChanges, AreTheSameInEveryOrderOfThreads) {
  for (const int offset : kOffsets) {
    in_every_order([&] {
      const Got got = changes_of({5, 9001, 33}, 0.02, offset, 300);
      return std::vector<std::vector<WeightChange>>{got.changes};
    });
    in_every_order([&] {
      const Got got = changes_of({5, 9001, 33}, 0.02, offset, 300);
      return std::vector<std::vector<uint16_t>>{got.published};
    });
  }
}

TEST(CudaWeightChanges, BeyondTheRoomAreCountedAndPublishedButNotWritten) {
  for (const size_t room : {size_t{0}, size_t{1}, size_t{100}}) expect_the_references(kSizes, 0.3, 0, room);
}

// More pieces than are added up at a time.
TEST(CudaWeightChanges, OfManyTensorsStandWhereTheCountsSay) {
  const std::vector<int64_t> sizes(1100, 3);
  expect_the_references(sizes, 0.4, 0, 3300);
}

}  // namespace
}  // namespace fulcrum::kernels
