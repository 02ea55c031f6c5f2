// Sums over the accelerators of several processes as plain functions: a group of members, one a process, each
// with one device. The CUDA plugin hands them over (NCCL's, cuda_group.cu), tests put others in their place;
// engine/collective calls them. The members meet by an id that one of them makes and sends to the others.
//
// Nothing here waits for another member: join() and sum() begin something, poll() says how far it is. So who
// waits keeps its deadline. Calls are made with the member's device as the current one of the calling thread
// (a cudaSetDevice()). One thread at a time for a member; abort() may come from another.
#pragma once

#include <cstdint>

namespace fulcrum::kernels {

struct GroupId {
  unsigned char bytes[128];
};

// What went wrong, in the library's words; ends with a 0.
struct GroupText {
  char text[512];
};

enum class GroupState : int32_t {
  kDone,
  kRunning,
  kFailed,      // of this member's own
  kPeerFailed,  // another member, or the way to it
};

enum class GroupNumber : int32_t { kF32, kF64 };

struct GroupMember;  // the table's own

struct DeviceGroup {
  // Whether the rest can be called on this machine: kDone or kFailed.
  GroupState (*usable)(GroupText* why);
  GroupState (*make_id)(GroupId* id, GroupText* why);
  // Begins to join as `rank` of `size`. kRunning with a member, or kFailed without.
  GroupState (*join)(const GroupId* id, int64_t rank, int64_t size, GroupMember** member, GroupText* why);
  // Begins, after the work that `stream` (a cudaStream_t) has: `count` numbers in the device's memory become
  // the sums of the members' numbers, with the same bits at all of them. The one before has ended.
  GroupState (*sum)(GroupMember* member, void* numbers, int64_t count, GroupNumber type, void* stream,
                    GroupText* why);
  // Of what was begun last. Nothing else is put on the stream while it is kRunning.
  GroupState (*poll)(GroupMember* member, GroupText* why);
  // Ends what still runs, on this device too, and the membership. May take its time where a device hangs.
  void (*abort)(GroupMember* member);
  // Ends the membership when all sums are done.
  void (*leave)(GroupMember* member);
};

// That of this process; null: there is none. Set once, before any other thread computes.
const DeviceGroup* device_group();
void use_device_group(const DeviceGroup* group);

}  // namespace fulcrum::kernels
