// The store's file itself, damaged or made by somebody else.
#include "engine/jobs/store.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view bytes) {
  const Scratch scratch;
  scratch.put("jobs.db", bytes);
  const auto opened = JobStore::open(scratch.path());
  if (!good(opened)) return;
  JobStore& store = **opened;
  (void)good(store.recover());
  (void)good(store.next_queued());
  const auto page = store.list({});
  if (!good(page)) return;
  for (const Job& job : page->jobs) {
    (void)good(store.events(job.id, 1));
    (void)good(store.metrics(job.id, 0, INT64_MAX));
    (void)good(store.record_metrics(job.id, job.epoch, 1, Json{{"loss", 1.0}}));
    (void)good(store.append_event(job.id, {.message = "here"}));
    if (const Status status = store.remove(job.id); !status.ok()) check_error(status);
  }
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
