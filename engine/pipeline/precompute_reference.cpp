// The reference's log-probs of everything a dpo job will look at, before its first step.
//
// The pass walks the data as the first epoch does and cuts it as the learner would, so that training with and
// without it is equal to the bit through that epoch; later epochs regroup the rows, and the last bits of a
// log-prob depend on what it is computed together with. The file's key covers all that decides the numbers:
// the reference's weights, the tokenizer, every token in the order of the pass, how the pass is cut, the type
// of the arithmetic and the build. What does not match is computed again.
#include <torch/version.h>

#include <algorithm>

#include "engine/core/hash.h"
#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/data/pack.h"
#include "engine/pipeline/job.h"
#include "rollout/fingerprint.h"

namespace fulcrum {
namespace {

using Portion = std::vector<const DataRow*>;

// The batches of the first epoch, then the validation rows.
std::vector<Portion> portions_of(const BuiltJob& job) {
  const int64_t rows_per_step = job.config.data.prompts_per_step;
  const int64_t epoch = (job.train.size() + rows_per_step - 1) / rows_per_step;
  std::vector<Portion> out;
  for (int64_t s = 0; s < std::min(epoch, job.config.max_steps); ++s)
    out.push_back(job.train.step_rows(s, rows_per_step));
  if (job.validation && job.config.eval.eval_steps > 0) {
    out.emplace_back();
    for (int64_t i = 0; i < job.validation->size(); ++i) out.back().push_back(&job.validation->row(i));
  }
  return out;
}

int64_t targets_of(const std::vector<Portion>& portions) {
  int64_t n = 0;
  for (const Portion& portion : portions) {
    for (const DataRow* row : portion) n += std::ssize(row->completion) + std::ssize(row->rejected);
  }
  return n;
}

void hash_ids(Sha256& hash, std::span<const TokenId> ids) {
  hash.update(std::to_string(ids.size()) + " ");
  hash.update(std::as_bytes(ids));
}

std::string key_of(const BuiltJob& job, const std::vector<Portion>& portions, at::Device device) {
  const LearnerConfig& c = job.config.learner;
  Sha256 hash;
  for (const std::string& part :
       {job.cached_reference->content_hash(), job.tokenizer->content_hash(), c.dtype,
        std::to_string(c.max_tokens_per_micro_batch), std::to_string(c.logits_chunk),
        std::to_string(c.threads), device.is_cpu() ? numeric_fingerprint() : device.str(),
        std::string(TORCH_VERSION)}) {
    hash.update(part + "\n");
  }
  for (const Portion& portion : portions) {
    hash.update("batch\n");
    for (const DataRow* row : portion) {
      for (const auto* ids : {&row->prompt.ids, &row->completion, &row->rejected}) hash_ids(hash, *ids);
    }
  }
  return hash.hex();
}

// The pass itself; the reference's weights are in memory only while it lasts.
Result<std::vector<float>> compute(BuiltJob& job, const std::vector<Portion>& portions,
                                   const PolicyOptions& how) {
  const LearnerConfig& c = job.config.learner;
  TRY(start, load_model(job.config.model_name_or_path));
  TRY(reference, make_reference(job.config.reference, start, how));
  std::vector<float> out;
  size_t done = 0;
  for (const Portion& portion : portions) {
    TRY_DO(job.control.point([] { return ok_status(); }));
    const TrainBatch batch = pack_rows(portion, job.config.rows());
    TRY(logps,
        reference->logps(batch, /*temperature=*/1, c.max_tokens_per_micro_batch, c.logits_chunk, job.stop()));
    out.insert(out.end(), logps.begin(), logps.end());
    if (++done % 64 == 0 || done == portions.size()) {
      TRY_DO(job.control.event(EventLevel::kInfo, "precompute_reference",
                               "reference log-probs: " + std::to_string(done) + " of " +
                                   std::to_string(portions.size()) + " batches"));
    }
  }
  return out;
}

// From the file if it is there and whole, else computed and written.
Result<std::vector<float>> find_or_compute(BuiltJob& job, const std::vector<Portion>& portions) {
  TRY(how, policy_options(job.config.learner));
  const std::string key = key_of(job, portions, how.device);
  const std::string& shared = job.config.reference.ref_log_probs_cache;
  const Path folder = shared.empty() ? job.journal->folder() / "reference_logps" : Path(shared);
  const Path file = folder / (key.substr(0, 16) + ".bin");
  auto kept = read_logps_file(file, key, targets_of(portions));
  if (kept.ok()) {
    TRY_DO(job.control.event(EventLevel::kInfo, "precompute_reference",
                             "reference log-probs: read from " + in_quotes(file.string())));
    return kept;
  }
  if (kept.status().code() != Code::kNotFound) log_warn(kept.status().message() + "; computing them again");
  TRY(computed, compute(job, portions, how));
  TRY_DO(make_folders(folder));
  TRY_DO(write_logps_file(file, key, computed));
  return computed;
}

}  // namespace

Status precompute_reference(BuiltJob& job) {
  const std::vector<Portion> portions = portions_of(job);
  TRY(logps, find_or_compute(job, portions));
  std::span<const float> rest = logps;
  for (const Portion& portion : portions) {
    const TrainBatch batch = pack_rows(portion, job.config.rows());
    const auto n = static_cast<size_t>(batch.num_targets());
    job.cached_reference->add(batch, rest.first(n));
    rest = rest.subspan(n);
  }
  return ok_status();
}

}  // namespace fulcrum
