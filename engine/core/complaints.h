// Collects what is wrong with an input, so that a user mends it in one round. A value; not thread-safe.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/core/status.h"
#include "engine/core/text.h"

namespace fulcrum {

class Complaints {
 public:
  void unless(bool fine, std::string complaint) {
    if (!fine) all_.push_back(std::move(complaint));
  }
  void unless(const Status& status) { unless(status.ok(), status.message()); }

  // kInvalidArgument with all of them in one line, "; " between.
  Status status() const { return all_.empty() ? ok_status() : invalid_argument(join(all_, "; ")); }

 private:
  std::vector<std::string> all_;
};

}  // namespace fulcrum
