#include "engine/pipeline/job_warnings.h"

#include <utility>

namespace fulcrum {
namespace {

// A data set may give a warning a row; the log has them all, a job's events the first ones.
constexpr int64_t kMost = 100;

}  // namespace

void JobWarnings::attach(Journal& journal) {
  journal_ = &journal;
  for (const std::string& message : std::exchange(before_, {})) static_cast<void>(journal.warning(message));
}

// An event that cannot be written is no reason to stop: the same full disk stops the next checkpoint in
// words.
void JobWarnings::note(std::string message) {
  if (++count_ > kMost) return;
  if (count_ == kMost) message += " (further warnings are in the log only)";
  static_cast<void>(control_.event(EventLevel::kWarn, "message", message, nullptr));
  if (journal_ != nullptr) {
    static_cast<void>(journal_->warning(message));
  } else {
    before_.push_back(std::move(message));
  }
}

}  // namespace fulcrum
