#include "tests/support/far_group.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "tests/support/far_device.h"

namespace fulcrum::kernels {

namespace {

// What one member brings to a sum.
struct Part {
  void* numbers = nullptr;
  int64_t count = 0;
  GroupNumber type = GroupNumber::kF32;
};

struct Round {
  std::map<int64_t, Part> parts;  // by rank
  bool done = false;
};

struct Room {
  int64_t size = 0, joined = 0;
  std::map<int64_t, Round> rounds;
};

}  // namespace

struct GroupMember {
  std::shared_ptr<Room> room;
  int64_t rank = 0;
  int64_t round = -1;  // -1: the joining
  bool hangs = false;
};

}  // namespace fulcrum::kernels

namespace fulcrum::testing {
namespace {

using namespace fulcrum::kernels;

std::mutex mutex;
FarGroupOrders orders;
FarGroupCounts counts;
std::map<int64_t, std::shared_ptr<Room>> rooms;  // by the number in the id

void say(GroupText* why, const std::string& text) {
  std::snprintf(why->text, sizeof why->text, "%s", text.c_str());
}

// May wait as long as the test likes.
GroupState fault(FarGroupCall call, int64_t rank, GroupText* why) {
  std::function<FarGroupFault(FarGroupCall, int64_t)> ask;
  {
    const std::lock_guard lock(mutex);
    ask = orders.fault;
  }
  const FarGroupFault given = ask ? ask(call, rank) : FarGroupFault{};
  say(why, given.text);
  return given.state;
}

template <class Number>
void add_up(const Round& round) {
  const FarAccess access;
  const Part& first = round.parts.begin()->second;
  for (int64_t i = 0; i < first.count; ++i) {
    Number sum = 0;
    for (const auto& [rank, part] : round.parts) sum += static_cast<const Number*>(part.numbers)[i];
    for (const auto& [rank, part] : round.parts) static_cast<Number*>(part.numbers)[i] = sum;
  }
}

GroupState usable(GroupText* why) {
  const std::lock_guard lock(mutex);
  say(why, orders.missing);
  return orders.missing.empty() ? GroupState::kDone : GroupState::kFailed;
}

GroupState make_id(GroupId* id, GroupText* why) {
  const GroupState instead = fault(FarGroupCall::kMakeId, 0, why);
  if (instead != GroupState::kDone) return instead;
  const std::lock_guard lock(mutex);
  const int64_t number = ++counts.ids;
  std::memcpy(id->bytes + 64, &number, sizeof number);  // not at the front: all of the id must arrive
  return GroupState::kDone;
}

GroupState join(const GroupId* id, int64_t rank, int64_t size, GroupMember** member, GroupText* why) {
  const GroupState instead = fault(FarGroupCall::kJoin, rank, why);
  if (instead != GroupState::kDone && instead != GroupState::kRunning) return instead;
  int64_t number = 0;
  std::memcpy(&number, id->bytes + 64, sizeof number);
  const std::lock_guard lock(mutex);
  std::shared_ptr<Room>& room = rooms[number];
  if (room == nullptr) room = std::make_shared<Room>();
  room->size = size;
  *member = new GroupMember{.room = room, .rank = rank, .hangs = instead == GroupState::kRunning};
  if (!(*member)->hangs) ++room->joined;
  ++counts.joins;
  return GroupState::kRunning;
}

GroupState sum(GroupMember* member, void* numbers, int64_t count, GroupNumber type, void*, GroupText* why) {
  const GroupState instead = fault(FarGroupCall::kSum, member->rank, why);
  if (instead != GroupState::kDone && instead != GroupState::kRunning) return instead;
  const std::lock_guard lock(mutex);
  ++counts.sums;
  ++member->round;
  member->hangs = instead == GroupState::kRunning;
  if (member->hangs) return GroupState::kRunning;
  Round& round = member->room->rounds[member->round];
  for (const auto& [rank, part] : round.parts) {
    if (part.count == count && part.type == type) continue;
    say(why, "the members' sums differ");
    return GroupState::kFailed;
  }
  round.parts[member->rank] = {numbers, count, type};
  if (static_cast<int64_t>(round.parts.size()) < member->room->size) return GroupState::kRunning;
  type == GroupNumber::kF64 ? add_up<double>(round) : add_up<float>(round);
  round.done = true;
  return GroupState::kRunning;
}

GroupState poll(GroupMember* member, GroupText*) {
  const std::lock_guard lock(mutex);
  ++counts.polls;
  if (member->hangs) return GroupState::kRunning;
  const bool done = member->round < 0 ? member->room->joined == member->room->size
                                      : member->room->rounds[member->round].done;
  return done ? GroupState::kDone : GroupState::kRunning;
}

void part_with(GroupMember* member, std::vector<int64_t>& list) {
  const std::lock_guard lock(mutex);
  for (auto& [number, round] : member->room->rounds) round.parts.erase(member->rank);
  list.insert(std::ranges::upper_bound(list, member->rank), member->rank);
  delete member;
}
void abort(GroupMember* member) { part_with(member, counts.aborted); }
void leave(GroupMember* member) { part_with(member, counts.left); }

}  // namespace

const DeviceGroup& far_group_table() {
  static constexpr DeviceGroup table = {.usable = usable,
                                        .make_id = make_id,
                                        .join = join,
                                        .sum = sum,
                                        .poll = poll,
                                        .abort = abort,
                                        .leave = leave};
  return table;
}

void give_far_group_orders(FarGroupOrders given) {
  const std::lock_guard lock(mutex);
  orders = std::move(given);
  counts = {};
  rooms.clear();
}

FarGroupCounts far_group_counts() {
  const std::lock_guard lock(mutex);
  return counts;
}

}  // namespace fulcrum::testing
