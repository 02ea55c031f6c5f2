// cuda_group.cu's own source, with a stand-in for NCCL and for the runtime's events: what it does with the
// runtime's record of errors, which LibTorch reads after each of its launches.
#include "engine/kernels/device/cuda_group.h"

#include <gtest/gtest.h>

#include "tests/support/fake_nccl/nccl.h"

namespace {

cudaError_t query_gives = cudaSuccess;
int events = 0;

}  // namespace

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  ++events;
  *event = &events;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t) { return fulcrum::cuda_on_host::recorded(query_gives); }
cudaError_t cudaEventDestroy(cudaEvent_t) {
  --events;
  return cudaSuccess;
}

namespace fulcrum::kernels {
namespace {

class CudaGroup : public ::testing::Test {
 protected:
  CudaGroup() {
    query_gives = cudaSuccess;
    GroupId id;
    EXPECT_EQ(group_.usable(&why_), GroupState::kDone) << why_.text;
    EXPECT_EQ(group_.make_id(&id, &why_), GroupState::kDone) << why_.text;
    EXPECT_EQ(group_.join(&id, 0, 1, &member_, &why_), GroupState::kRunning) << why_.text;
    EXPECT_EQ(group_.poll(member_, &why_), GroupState::kDone) << why_.text;
  }
  ~CudaGroup() override {
    group_.leave(member_);
    EXPECT_EQ(events, 0);
  }
  GroupState sum() { return group_.sum(member_, &number_, 1, GroupNumber::kF32, nullptr, &why_); }

  const DeviceGroup& group_ = cuda_group();
  GroupMember* member_ = nullptr;
  GroupText why_{};
  float number_ = 1;
};

TEST_F(CudaGroup, ASumThatStillRunsLeavesNothingOnTheRecord) {
  ASSERT_EQ(sum(), GroupState::kRunning);
  query_gives = cudaErrorNotReady;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(group_.poll(member_, &why_), GroupState::kRunning);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "LibTorch's next launch would report it";
  }
  query_gives = cudaSuccess;
  EXPECT_EQ(group_.poll(member_, &why_), GroupState::kDone);
}

TEST_F(CudaGroup, ASumThatFailedSaysSoOnce) {
  ASSERT_EQ(sum(), GroupState::kRunning);
  query_gives = 719;
  EXPECT_EQ(group_.poll(member_, &why_), GroupState::kFailed);
  EXPECT_STREQ(why_.text, "unspecified launch failure");
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

}  // namespace
}  // namespace fulcrum::kernels
