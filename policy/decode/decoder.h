// Runs tokens through the model: a row is one token of one sequence, and gets its keys and values stored and,
// where asked, its logits. Prompts and single steps are the same thing, rows. A row's logits are the same
// bits whatever rows run beside it, whether its sequence came in one call or token by token, and with any
// number of threads. Called by the generator; one user at a time.
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/kernels/aligned.h"
#include "policy/decode/decode_model.h"
#include "policy/decode/kv_cache.h"
#include "policy/decode/rope_angles.h"
#include "policy/decode/workers.h"

namespace fulcrum {

struct DecodeRow {
  KvSequence* sequence = nullptr;  // the row becomes its next position
  TokenId token = 0;               // 0 <= token < vocab_size
  bool wants_logits = true;
};

class Decoder {
 public:
  static constexpr int64_t kChunkRows = 128;  // that go through the layers together; bounds the buffers

  // `workers` outlives the decoder; rows are divided among them.
  Decoder(std::shared_ptr<const DecodeModel> model, Workers& workers);
  ~Decoder();

  const DecodeModel& model() const { return *model_; }
  KvSequence new_sequence() { return KvSequence(pool_); }

  // Rows of one sequence stand side by side, in order; no sequence grows past max_position_embeddings. False:
  // stopped, and the sequences and logits of this call are unusable.
  bool run(std::span<const DecodeRow> rows, std::stop_token stop = {});

  // vocab_size floats of the last run's row `row`, which wanted them; valid until the next run.
  std::span<const float> logits(size_t row) const;

 private:
  struct Placed;     // a row, its position, its place among the logits
  struct Workspace;  // one worker's buffers

  std::vector<size_t> divide(std::span<const DecodeRow> rows) const;
  void forward(Workspace& w, std::span<const Placed> rows, const std::stop_token& stop);
  void attend(Workspace& w, std::span<const Placed> rows, size_t layer);
  void feed_forward(Workspace& w, int64_t rows, size_t layer);
  void project(Workspace& w, std::span<const Placed> rows);

  std::shared_ptr<const DecodeModel> model_;
  Workers& workers_;
  KvPool pool_;
  RopeAngles rope_;
  std::vector<std::unique_ptr<Workspace>> workspaces_;
  kernels::AlignedFloats logits_;      // [rows that want logits][padded vocabulary]
  std::vector<int64_t> logits_index_;  // by row
};

}  // namespace fulcrum
