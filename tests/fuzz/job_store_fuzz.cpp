// The names a client may send to the job store: ids, page tokens, request ids. One a line.
#include "engine/core/text.h"
#include "engine/jobs/store.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  static const Scratch scratch;
  static const auto store = [] {
    auto opened = JobStore::open(scratch.path());
    LAW(opened.ok());
    for (int i = 0; i < 3; ++i) LAW((*opened)->create({.name = "n", .config = "{}"}).ok());
    return std::move(opened).value();
  }();
  for (const std::string& name : split(input, '\n')) {
    const Result<Job> job = store->get(name);
    if (good(job)) LAW(job->id == name);
    const auto page = store->list({.page_token = name});
    if (good(page)) LAW(page->jobs.size() <= 3);
    if (const auto events = store->events(name, 1); good(events)) LAW(job.ok() && !events->empty());
    (void)good(store->metrics(name, 0, INT64_MAX));
    if (!job.ok()) check_error(store->remove(name));
    if (const auto state = parse_job_state(name); good(state)) LAW(job_state_name(*state) == name);
    if (const auto level = parse_event_level(name); good(level)) LAW(event_level_name(*level) == name);
  }
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
