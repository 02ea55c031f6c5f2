#include "engine/pipeline/initial_samples.h"

namespace fulcrum {

Result<JudgedStep> draw_initial(BuiltJob& job, const std::vector<int64_t>& rows, InitialStream stream,
                                int64_t n) {
  std::vector<RolloutRequest> requests;
  for (const int64_t row : rows) {
    requests.push_back(job.request(job.train.row(row).prompt, static_cast<int64_t>(stream), row));
    requests.back().evaluation = true;
    requests.back().num_generations = n;
  }
  TRY(groups, job.backend.rollouts->generate(requests, job.version(0), job.stop()));
  TRY(verdicts, job.rewards->score(groups, job.stop()));
  JudgedStep out;
  out.groups = std::move(groups);
  out.verdicts = std::move(verdicts);
  return out;
}

}  // namespace fulcrum
