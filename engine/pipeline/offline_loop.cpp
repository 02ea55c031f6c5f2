// rows -> batch -> step -> record: SFT, DPO and others that learn from data that is already there.
#include "engine/data/pack.h"
#include "engine/pipeline/job.h"

namespace fulcrum {

Status offline_loop(BuiltJob& job) {
  TRY_DO(finish_interrupted(job));
  for (int64_t s = job.first_step; s < job.config.max_steps; ++s) {
    TRY_DO(job.control.point([&] { return save_point(job, s); }));
    const std::vector<const DataRow*> rows = job.train.step_rows(s, job.config.data.prompts_per_step);
    TRY(metrics, job.learner->step(pack_rows(rows, job.config.rows()), job.stop()));
    job.unrecorded = std::move(metrics);
    TRY_DO(finish_step(job, s + 1));
  }
  return ok_status();
}

}  // namespace fulcrum
