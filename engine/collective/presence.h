// Who is where: before each call every rank leaves a note in the store that all of them reach, so that when a
// call fails the ranks that are left can tell which one is missing. Called by C10dCollective. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum {

// The store of a group, and who keeps it: rank 0, or the launcher.
struct GroupStore {
  c10::intrusive_ptr<c10d::Store> store;
  bool launcher = false;
  int64_t rank = 0, size = 1;
  std::chrono::milliseconds deadline{0};
};

class Presence {
 public:
  explicit Presence(GroupStore group) : group_(std::move(group)) {}

  // This rank is at its call number `call`.
  void arrived(int64_t call, std::string_view purpose);

  // Why the call failed after `waited`: names the ranks that are missing. `error` is what the group said.
  // Asks the others for some seconds, at most until the deadline that the call would have had.
  Status explain(int64_t call, std::string_view purpose, std::chrono::milliseconds waited,
                 const std::string& error);

 private:
  GroupStore group_;
};

}  // namespace fulcrum
