// How the ranks of a data-parallel learner stay together. What each does on its own stands between begin()
// and exchange(); a fault that one of them alone has there (no memory, a stop request) reaches all of them in
// the exchange, so that all give up or none. What can fail on all of them alike may stand there too. After an
// exchange come the sums. One rank: nothing is sent. Called by the learner. Not thread-safe.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "engine/collective/collective.h"
#include "engine/core/json.h"

namespace fulcrum {

class Agreement {
 public:
  // Null: alone.
  explicit Agreement(std::shared_ptr<Collective> group);

  Collective& group() const { return *group_; }
  bool alone() const { return group_->alone(); }

  void begin() { open_ = true; }
  // Every rank's part, by rank, if none has a fault; else the fault of the first rank that has one, on all of
  // them alike.
  Result<std::vector<Json>> exchange(const Json& part, std::string_view purpose);
  // What this rank came to, passed on. A fault since begin() is told in the exchange that the others come to;
  // one that comes after it, where they are gone, takes this rank out of the group.
  template <class Outcome>
  Outcome settle(Outcome outcome) {
    const Status fault = to_status(outcome);
    return alone() || fault.ok() ? std::move(outcome) : Outcome(tell(fault));
  }

 private:
  Status tell(const Status& fault);
  Result<std::vector<Json>> exchange(const Status& mine, const Json& part, std::string_view purpose);

  std::shared_ptr<Collective> group_;
  bool open_ = false;   // since begin(), until the exchange
  bool known_ = false;  // the last exchange failed, on every rank
};

// A message as the bytes that travel, exact to the bit, and back. kDataLoss if it is none.
std::string message_bytes(const Json& message);
Result<Json> read_message(std::string_view bytes);

}  // namespace fulcrum
