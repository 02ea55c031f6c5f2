// Sums by NCCL. Its library, which LibTorch brings, is opened at the first use and called by pointers of its
// own header's types, so that the plugin links and loads without it. A communicator is one that does not
// block (docs/decisions/0010-nccl-by-its-own-interface.md).
#include "engine/kernels/device/cuda_group.h"

#include <dlfcn.h>
#include <nccl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>

#include "engine/kernels/device/launch.h"

namespace fulcrum::kernels {

struct GroupMember {
  enum class At {
    kIdle,
    kJoining,
    kStarting,  // NCCL has not yet put the sum on the stream
    kOnStream,  // `end` stands behind it
  };
  ncclComm_t communicator = nullptr;
  cudaEvent_t end = nullptr;
  cudaStream_t stream = nullptr;
  At at = At::kIdle;
};

namespace {

using At = GroupMember::At;

constexpr int kLeastVersion = NCCL_VERSION(2, 28, 0);  // whose ncclConfig_t the header has

struct Nccl {
  decltype(&ncclGetVersion) version;
  decltype(&ncclGetUniqueId) unique_id;
  decltype(&ncclCommInitRankConfig) init;
  decltype(&ncclCommGetAsyncError) async_error;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclCommFinalize) finalize;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclGetErrorString) error_string;
  decltype(&ncclGetLastError) last_error;
  std::string trouble;  // why none of them can be called
};

Nccl open_nccl() {
  Nccl out{};
  void* library = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    out.trouble = "NCCL cannot be loaded: " + std::string(::dlerror());
    return out;
  }
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
    if (function == nullptr) out.trouble = std::string("NCCL's library has no ") + name;
  };
  find("ncclGetVersion", out.version);
  find("ncclGetUniqueId", out.unique_id);
  find("ncclCommInitRankConfig", out.init);
  find("ncclCommGetAsyncError", out.async_error);
  find("ncclAllReduce", out.all_reduce);
  find("ncclCommFinalize", out.finalize);
  find("ncclCommDestroy", out.destroy);
  find("ncclCommAbort", out.abort);
  find("ncclGetErrorString", out.error_string);
  find("ncclGetLastError", out.last_error);
  int version = 0;
  if (out.trouble.empty() && (out.version(&version) != ncclSuccess || version < kLeastVersion))
    out.trouble = "NCCL's library is of version " + std::to_string(version) + ", this build needs " +
                  std::to_string(kLeastVersion) + " or later";
  return out;
}

const Nccl& nccl() {
  static const Nccl opened = open_nccl();  // for the life of the process
  return opened;
}

void say(GroupText* why, const char* text) { std::snprintf(why->text, sizeof why->text, "%s", text); }

GroupState cuda_failed(cudaError_t error, GroupText* why) {
  noted(error);
  say(why, cudaGetErrorString(error));
  return GroupState::kFailed;
}

// NCCL calls the end of another process, and of the network to it, a remote error.
GroupState failed(ncclResult_t result, ncclComm_t communicator, GroupText* why) {
  std::string text = std::string("NCCL: ") + nccl().error_string(result);
  const char* last = nccl().last_error(communicator);
  if (last != nullptr && *last != 0) text += std::string(": ") + last;
  say(why, text.c_str());
  return result == ncclRemoteError ? GroupState::kPeerFailed : GroupState::kFailed;
}

bool begun(ncclResult_t result) { return result == ncclSuccess || result == ncclInProgress; }

GroupState usable(GroupText* why) {
  if (nccl().trouble.empty()) return GroupState::kDone;
  say(why, nccl().trouble.c_str());
  return GroupState::kFailed;
}

GroupState make_id(GroupId* id, GroupText* why) {
  static_assert(sizeof(ncclUniqueId) == sizeof(GroupId));
  ncclUniqueId made;
  const ncclResult_t result = nccl().unique_id(&made);
  if (result != ncclSuccess) return failed(result, nullptr, why);
  std::memcpy(id, &made, sizeof made);
  return GroupState::kDone;
}

void abort(GroupMember* member) {
  if (member->communicator != nullptr) nccl().abort(member->communicator);
  if (member->end != nullptr) cudaEventDestroy(member->end);
  delete member;
}

GroupState join(const GroupId* id, int64_t rank, int64_t size, GroupMember** member, GroupText* why) {
  *member = nullptr;
  auto* out = new GroupMember;
  if (const cudaError_t error = cudaEventCreateWithFlags(&out->end, cudaEventDisableTiming);
      error != cudaSuccess) {
    abort(out);
    return cuda_failed(error, why);
  }
  ncclUniqueId given;
  std::memcpy(&given, id, sizeof given);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const ncclResult_t result =
      nccl().init(&out->communicator, static_cast<int>(size), given, static_cast<int>(rank), &config);
  if (!begun(result)) {
    failed(result, nullptr, why);
    abort(out);
    return GroupState::kFailed;
  }
  out->at = At::kJoining;
  *member = out;
  return GroupState::kRunning;
}

GroupState sum(GroupMember* member, void* numbers, int64_t count, GroupNumber type, void* stream,
               GroupText* why) {
  member->stream = static_cast<cudaStream_t>(stream);
  const ncclDataType_t number = type == GroupNumber::kF64 ? ncclFloat64 : ncclFloat32;
  const ncclResult_t result = nccl().all_reduce(numbers, numbers, static_cast<size_t>(count), number, ncclSum,
                                                member->communicator, member->stream);
  if (!begun(result)) return failed(result, member->communicator, why);
  member->at = At::kStarting;
  return GroupState::kRunning;
}

GroupState poll(GroupMember* member, GroupText* why) {
  if (member->at == At::kIdle) return GroupState::kDone;
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = nccl().async_error(member->communicator, &state);
  if (asked != ncclSuccess) return failed(asked, member->communicator, why);
  if (!begun(state)) return failed(state, member->communicator, why);
  if (member->at != At::kOnStream) {
    if (state == ncclInProgress) return GroupState::kRunning;
    if (member->at == At::kJoining) {
      member->at = At::kIdle;
      return GroupState::kDone;
    }
    const cudaError_t error = cudaEventRecord(member->end, member->stream);
    if (error != cudaSuccess) return cuda_failed(error, why);
    member->at = At::kOnStream;
  }
  // "Not ready" goes on the runtime's record, too.
  const int error = noted(cudaEventQuery(member->end));
  if (error == cudaErrorNotReady) return GroupState::kRunning;
  if (error != cudaSuccess) return cuda_failed(static_cast<cudaError_t>(error), why);
  member->at = At::kIdle;
  return GroupState::kDone;
}

// NCCL says goodbye to the other members; where one of them is gone already it is not waited for.
void leave(GroupMember* member) {
  constexpr int kPatienceMs = 2000;
  ncclResult_t state = nccl().finalize(member->communicator);
  for (int ms = 0; state == ncclInProgress && ms < kPatienceMs; ++ms) {
    ::usleep(1000);
    if (nccl().async_error(member->communicator, &state) != ncclSuccess) state = ncclInternalError;
  }
  if (state == ncclSuccess) {
    nccl().destroy(member->communicator);
    member->communicator = nullptr;
  }
  abort(member);
}

constexpr DeviceGroup kGroup = {
    .usable = usable,
    .make_id = make_id,
    .join = join,
    .sum = sum,
    .poll = poll,
    .abort = abort,
    .leave = leave,
};

}  // namespace

const DeviceGroup& cuda_group() { return kGroup; }

}  // namespace fulcrum::kernels
