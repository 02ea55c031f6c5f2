// Log-probs of a frozen reference computed once, before training, so that its weights need not stay in
// memory (TRL's precompute_ref_log_probs); and the file they are kept in. Filled by the pipeline, then called
// by the learner. Not thread-safe.
//
// A row is found by its tokens, prompt and completion, so a batch of any composition is served and a row that
// was never computed is an error, not a wrong number.
#pragma once

#include <string>
#include <unordered_map>

#include "engine/core/files.h"
#include "engine/reference/reference.h"

namespace fulcrum {

class CachedReference final : public Reference {
 public:
  // The hash of the weights that give the log-probs, and whether they are a soup's.
  CachedReference(std::string content_hash, bool is_soup)
      : hash_(std::move(content_hash)), is_soup_(is_soup) {}

  // Takes in the log-probs of a batch's targets. Of a row that comes twice the first ones stay.
  void add(const TrainBatch& batch, std::span<const float> logps);

  // Those that add() was given; the arguments of the forward pass do nothing. kInternal naming the row if one
  // is missing.
  Result<std::vector<float>> logps(const TrainBatch& batch, double temperature, int64_t max_tokens,
                                   int64_t chunk, std::stop_token stop) override;
  Status after_step(int64_t, const Policy&) override { return ok_status(); }
  int64_t version() const override { return 0; }
  const std::string& content_hash() const override { return hash_; }
  std::string origin() const override { return "log-probs computed in advance"; }
  bool is_soup() const override { return is_soup_; }
  TensorMap save() const override { return {}; }
  Status load(const TensorMap& tensors, int64_t version) override;

 private:
  std::unordered_map<std::string, std::vector<float>> rows_;  // by the bytes of their tokens
  std::string hash_;
  bool is_soup_;
};

// One file of log-probs: a line of JSON with the key, the count and the SHA-256 of what follows, then the
// numbers as little-endian fp32. Written whole or not at all.
Status write_logps_file(const Path& file, const std::string& key, std::span<const float> logps);
// kNotFound: there is none. kDataLoss: it is damaged, or holds something else than `count` numbers under
// `key`.
Result<std::vector<float>> read_logps_file(const Path& file, const std::string& key, int64_t count);

}  // namespace fulcrum
