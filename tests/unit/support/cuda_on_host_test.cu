// Kernels that are right and kernels that are not: what the emulation (tests/support/cuda_on_host.h) finds.
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

#include "engine/kernels/device/launch.h"

namespace fulcrum::cuda_on_host {
namespace {

using kernels::launch;
using kernels::launch_with_shared;

constexpr unsigned kAll = 0xFFFFFFFFu;

struct CudaOnHost : ::testing::Test {
  ~CudaOnHost() override { use_schedule({}); }
};

// The results of a launch in every order, and the faults of all.
template <auto kKernel>
std::set<std::vector<int>> results(dim3 grid, dim3 block, size_t n,
                                   std::vector<std::string>* faults = nullptr) {
  std::set<std::vector<int>> seen;
  for (const Schedule& schedule : every_schedule()) {
    use_schedule(schedule);
    std::vector<int> out(n, -1);
    const Faults collected;
    const int error = launch<kKernel>(grid, block, nullptr, out.data());
    EXPECT_EQ(error, collected.seen().empty() ? 0 : kFault);
    if (faults != nullptr) faults->insert(faults->end(), collected.seen().begin(), collected.seen().end());
    seen.insert(out);
  }
  return seen;
}

std::string only_fault(const std::vector<std::string>& faults) {
  EXPECT_EQ(faults.size(), every_schedule().size());
  return faults.empty() ? "" : faults.front();
}

__global__ void where_am_i(int* out) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] += static_cast<int>(block * 1000 + thread) + 1;
}

TEST_F(CudaOnHost, RunsEveryThreadOfEveryBlockOnce) {
  const auto seen = results<where_am_i>({2, 3, 2}, {5, 2, 3}, 360);
  ASSERT_EQ(seen.size(), 1u);
  for (size_t i = 0; i < 360; ++i) ASSERT_EQ((*seen.begin())[i], static_cast<int>(i / 30 * 1000 + i % 30));
  EXPECT_EQ(results<where_am_i>({0}, {1}, 1), std::set<std::vector<int>>{{-1}});
}

template <bool kSynchronised>
__global__ void neighbours(int* out) {
  __shared__ int shared[96];
  const unsigned i = threadIdx.x;
  shared[i] = static_cast<int>(i * i);
  if (kSynchronised) __syncthreads();
  out[i] = shared[(i + 1) % 96];
}

TEST_F(CudaOnHost, AMissingBarrierGivesResultsThatHangOnTheOrder) {
  EXPECT_EQ(results<neighbours<true>>(1, 96, 96).size(), 1u);
  EXPECT_GT(results<neighbours<false>>(1, 96, 96).size(), 1u);
}

// A warp that runs ahead writes the next sum's parts while others still read those of the last.
template <bool kSynchronised>
__global__ void two_sums(int* out) {
  __shared__ int of_warp[4];
  int sums[2];
  for (int k = 0; k < 2; ++k) {
    if (kSynchronised) __syncthreads();
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = static_cast<int>(threadIdx.x) * (k + 1);
    __syncthreads();
    sums[k] = __shfl_sync(kAll, of_warp[threadIdx.x % 4], 3);
    sums[k] += of_warp[0];
  }
  out[threadIdx.x] = sums[0] * 1000 + sums[1] + of_warp[2];
}

TEST_F(CudaOnHost, AWarpThatRunsAheadShowsAMissingBarrierBetweenTwoSums) {
  EXPECT_EQ(results<two_sums<true>>(1, 128, 128).size(), 1u);
  EXPECT_GT(results<two_sums<false>>(1, 128, 128).size(), 1u);
}

__global__ void divergent_barrier(int* out) {
  if (threadIdx.x != 37) __syncthreads();
  out[threadIdx.x] = 1;
  if (threadIdx.x == 37) __syncthreads();
}

__global__ void block_of_two_lines(int* out) {
  if (threadIdx.x < 32) {
    out[threadIdx.x] = 1;
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST_F(CudaOnHost, ReportsADivergentBarrierWithItsKernelBlockAndThread) {
  std::vector<std::string> faults;
  results<divergent_barrier>({1}, 64, 64, &faults);
  const std::string text = only_fault(faults);
  EXPECT_NE(text.find("divergent_barrier, block 0: thread 0 waits at the barrier of cuda_on_host_test.cu:"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("thread 37 does not reach: it waits at the barrier of"), std::string::npos) << text;
  faults.clear();
  results<block_of_two_lines>({1}, 64, 64, &faults);
  EXPECT_NE(only_fault(faults).find("thread 32 does not reach"), std::string::npos);
}

// Threads that have returned are not waited for; sm_70 and later have it so.
__global__ void early_return(int* out) {
  if (threadIdx.x >= 40) return;
  out[threadIdx.x] = __syncthreads_count(threadIdx.x < 3);
}

TEST_F(CudaOnHost, ABarrierIsOfTheThreadsThatLive) {
  const auto seen = results<early_return>(2, 64, 64);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(std::accumulate(seen.begin()->begin(), seen.begin()->end(), 0), 40 * 3 - 24);
}

__global__ void lane_missing(int* out) {
  if (threadIdx.x % 32 == 5) return;
  out[threadIdx.x] = __shfl_xor_sync(kAll, 1, 1);
}
__global__ void lane_elsewhere(int* out) {
  if (threadIdx.x == 7) {
    out[7] = __shfl_down_sync(kAll, 1, 1);
  } else {
    out[threadIdx.x] = __shfl_down_sync(kAll, 2, 1);
  }
}
__global__ void lane_outside_mask(int* out) { out[threadIdx.x] = __shfl_sync(0xFFFFu, 1, 20); }

TEST_F(CudaOnHost, ReportsAShuffleThatNotAllLanesReach) {
  std::vector<std::string> faults;
  results<lane_missing>({1}, 64, 64, &faults);
  EXPECT_NE(only_fault(faults).find("lane 5 does not reach: it has returned"), std::string::npos);
  faults.clear();
  results<lane_missing>({1}, 40, 64, &faults);  // the second warp has eight threads
  only_fault(faults);
  faults.clear();
  results<lane_elsewhere>({1}, 32, 32, &faults);
  EXPECT_NE(only_fault(faults).find("it waits in a warp operation"), std::string::npos);
  faults.clear();
  results<lane_outside_mask>({1}, 16, 32, &faults);
  EXPECT_NE(only_fault(faults).find("lane 20, which its mask leaves out"), std::string::npos);
}

__global__ void warp_operations(int* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int sum = lane;
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(kAll, sum, step);
  int down = lane;
  for (int step = 4; step > 0; step /= 2) down += __shfl_down_sync(kAll, down, step, 8);
  const int up = __shfl_up_sync(kAll, lane, 1);
  const int third = __shfl_sync(kAll, lane, 3, 8);
  const auto even = static_cast<int>(__ballot_sync(kAll, lane % 2 == 0));
  const bool votes = __any_sync(kAll, lane == 9) && !__all_sync(kAll, lane != 9);
  if (lane == 8) out[threadIdx.x / 32] = sum * 1000000 + down * 1000 + up * 10 + (third == 11) + votes;
  if (lane == 8 && even != 0x55555555) out[threadIdx.x / 32] = 0;
}

TEST_F(CudaOnHost, WarpOperationsGiveWhatTheDeviceGives) {
  // 0 + ... + 31; 8 + ... + 15; the lane before 8.
  const int want = 496 * 1000000 + 92 * 1000 + 7 * 10 + 2;
  EXPECT_EQ(results<warp_operations>(1, 96, 3), (std::set<std::vector<int>>{{want, want, want}}));
}

__global__ void dynamic(int* out) {
  int* shared = fulcrum::kernels::dynamic_shared<int>();
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

TEST_F(CudaOnHost, RefusesWhatNoDeviceLaunches) {
  std::vector<int> out(64);
  EXPECT_EQ((launch_with_shared<dynamic>(1, 64, 64 * sizeof(int), nullptr, out.data())), 0);
  EXPECT_EQ(out[3], 60);
  const Faults faults;
  EXPECT_EQ((launch_with_shared<dynamic>(1, 64, 1 << 20, nullptr, out.data())), kFault);
  EXPECT_EQ((launch<dynamic>(1, 2048, nullptr, out.data())), kFault);
  EXPECT_EQ((launch<dynamic>({1, 70000}, 1, nullptr, out.data())), kFault);
  EXPECT_EQ(faults.seen().size(), 3u);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "LibTorch's next launch would report it";
}

__global__ void with_much_shared(int* out) { dynamic(out); }

TEST_F(CudaOnHost, GivesMuchSharedMemoryOnlyWhereItIsAskedFor) {
  std::vector<int> out(64);
  constexpr size_t kMuch = fulcrum::kernels::kSharedUnasked + 16;
  {
    const Faults faults;
    EXPECT_EQ((start<with_much_shared>(1, 64, kMuch, nullptr, out.data())), kFault);
    EXPECT_EQ(faults.seen().size(), 1u);
    EXPECT_EQ(cudaGetLastError(), kFault);
  }
  EXPECT_EQ((launch_with_shared<with_much_shared>(1, 64, kMuch, nullptr, out.data())), 0);
  EXPECT_EQ(out[3], 60);
}

TEST_F(CudaOnHost, RoundsToBf16AsTheDeviceDoes) {
  EXPECT_EQ(__bfloat162float(__float2bfloat16_rn(1.00390625f)), 1.0f);  // halfway: to the even one
  EXPECT_EQ(__bfloat162float(__float2bfloat16_rn(1.01171875f)), 1.015625f);
  EXPECT_TRUE(std::isinf(__bfloat162float(__float2bfloat16_rn(3.4e38f))));
}

}  // namespace
}  // namespace fulcrum::cuda_on_host
