// A job as a client sends it: the file, then one override a line. What is accepted is written back whole and
// read again as the same job.
#include "engine/core/text.h"
#include "engine/pipeline/config/job_config.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  const auto parts = split_parts(input, 2);
  std::vector<std::string> overrides;
  if (!parts[1].empty()) overrides = split(parts[1], '\n');
  const Result<JobConfig> job = parse_job(parts[0], overrides);
  if (!good(job)) return;
  const std::string written = dump_json(write_config(*job));
  const Result<JobConfig> again = parse_job(written, {});
  LAW(again.ok());
  LAW(dump_json(write_config(*again)) == written);
  LAW(job_fingerprint(*again) == job_fingerprint(*job));
  LAW(check_job(*again).ok());
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
