// A stand-in for NCCL's library (libnccl.so.2): a group of one, all of whose calls succeed at once.
#include "tests/support/fake_nccl/nccl.h"

struct ncclComm {};

#pragma GCC visibility push(default)

extern "C" {
ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION(2, 28, 9);
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  *id = {};
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* communicator, int, ncclUniqueId, int, ncclConfig_t* config) {
  *communicator = new ncclComm;
  return config->blocking == 0 ? ncclInProgress : ncclInternalError;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
  *error = ncclSuccess;
  return ncclSuccess;
}
ncclResult_t ncclAllReduce(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t,
                           cudaStream_t) {
  return ncclInProgress;
}
ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }
ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  delete communicator;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t communicator) { return ncclCommDestroy(communicator); }
const char* ncclGetErrorString(ncclResult_t) { return "a stand-in's error"; }
const char* ncclGetLastError(ncclComm_t) { return ""; }
}

#pragma GCC visibility pop
