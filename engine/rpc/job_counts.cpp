#include "engine/rpc/job_counts.h"

namespace fulcrum {

Result<std::map<JobState, int64_t>> jobs_by_state(JobStore& store) {
  std::map<JobState, int64_t> counts;
  for (const JobState state : kJobStates) counts[state] = 0;
  ListQuery query{.page_size = 1000};
  do {
    TRY(page, store.list(query));
    for (const Job& job : page.jobs) ++counts[job.state];
    query.page_token = page.next_page_token;
  } while (!query.page_token.empty());
  return counts;
}

}  // namespace fulcrum
