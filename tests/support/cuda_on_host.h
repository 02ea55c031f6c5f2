// CUDA's device language for the C++ compiler, so that tests run a kernel's own source on the CPU. Included
// by engine/kernels/device/launch.h under FULCRUM_CUDA_ON_HOST; no CUDA header is needed. Blocks run one
// after another, the threads of a block are fibers that change at barriers and warp operations only.
//
// What it finds: a barrier or warp operation that not all its threads reach, or reach at different lines, a
// launch no device would take, and, by running a test in several orders (Schedule), results that hang on
// the order between barriers: missing synchronisation. What it cannot show: the memory model between
// blocks, the compiler's fused multiply-adds, the last bits of the device's own functions, speed. A thread
// that waits for another in a loop of its own hangs.
//
// A fault fails the running test, unless a Faults collects it; the launch returns kFault. Thread-safe: each
// host thread launches on its own.
#pragma once

#include <math.h>  // the functions without std::, as CUDA has them

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/core/half.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// One block runs at a time in a host thread. What a block leaves is there for the next, as on a device.
#define __shared__ static thread_local

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};
struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace fulcrum::cuda_on_host {

inline constexpr int kFault = 719;  // what launch() returns: the number of cudaErrorLaunchFailure

// In which order blocks run, and the warps and threads of a block. kForward lets the first warp run ahead to
// the next barrier before the second begins, kReverse the last; kShuffled draws a warp after each of its
// operations.
struct Schedule {
  enum Order { kForward, kReverse, kShuffled } order = kForward;
  uint64_t seed = 0;
};
// Of the launches of this host thread from now on.
void use_schedule(const Schedule& schedule);
// Those a test should run in: forward, reverse, and two shuffles.
std::vector<Schedule> every_schedule();

// Collects the faults of this host thread's launches while it lives, instead of failing the test.
class Faults {
 public:
  Faults();
  ~Faults();
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;
  const std::vector<std::string>& seen() const { return seen_; }
  void add(std::string fault) { seen_.push_back(std::move(fault)); }

 private:
  std::vector<std::string> seen_;
  Faults* outer_;
};

using Where = std::source_location;

struct Launch {
  std::string_view kernel;  // its name
  dim3 grid, block;
  size_t shared_bytes = 0, shared_allowed = 0;
  void (*thread)(void* kernel_and_arguments) = nullptr;
  void* kernel_and_arguments = nullptr;
};
// Runs all threads before it returns. 0 or kFault.
int run(const Launch& launch);

// What a thread does at a barrier: waits for the others. `how` of block barriers: what is made of the values.
enum class Vote { kNone, kCount, kOr, kAnd };
int block_barrier(Vote vote, bool value, const Where& where);
// A warp operation: every lane of `mask` gives `value` and gets that of lane `source`, or the ballot of all.
inline constexpr int kBallot = -1;
uint64_t warp_exchange(unsigned mask, uint64_t value, int source, const Where& where);
int lane_of_thread();
void* dynamic_shared_bytes();

template <auto kKernel>
std::string_view name_of_kernel() {
  const std::string_view text = __PRETTY_FUNCTION__;
  const size_t begin = text.find("kKernel = ") + 10;
  return text.substr(begin, std::min(text.rfind("; std::"), text.rfind(']')) - begin);
}

template <auto kKernel, class... Parameters, class... Arguments>
int launch_as(void (*)(Parameters...), const Launch& launch, Arguments&&... arguments) {
  const auto call = [&] { kKernel(static_cast<Parameters>(arguments)...); };
  Launch filled = launch;
  filled.kernel = name_of_kernel<kKernel>();
  filled.thread = [](void* pointer) { (*static_cast<decltype(call)*>(pointer))(); };
  filled.kernel_and_arguments = const_cast<void*>(static_cast<const void*>(&call));
  return run(filled);
}

// Dynamic shared memory that a launch of the kernel may have: what a device gives unasked, less 4 KiB for the
// kernel's own __shared__ variables, whose bytes nothing here knows; or what allow_shared() has asked for.
inline constexpr size_t kSharedAtFirst = 44 << 10;
template <auto kKernel>
inline thread_local size_t shared_allowed = kSharedAtFirst;
template <auto kKernel>
int allow_shared(size_t bytes) {
  shared_allowed<kKernel> = bytes;
  return 0;
}

template <auto kKernel, class... Arguments>
int start(dim3 grid, dim3 block, size_t shared_bytes, void*, Arguments&&... arguments) {
  return launch_as<kKernel>(
      kKernel,
      {.grid = grid, .block = block, .shared_bytes = shared_bytes, .shared_allowed = shared_allowed<kKernel>},
      std::forward<Arguments>(arguments)...);
}

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(dynamic_shared_bytes());
}

template <class T>
T exchange(unsigned mask, T value, int source, const Where& where) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_exchange(mask, bits, source, where);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace fulcrum::cuda_on_host

// Barriers.
inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  fulcrum::cuda_on_host::block_barrier(fulcrum::cuda_on_host::Vote::kNone, false, where);
}
inline int __syncthreads_count(int value,
                               const std::source_location& where = std::source_location::current()) {
  return fulcrum::cuda_on_host::block_barrier(fulcrum::cuda_on_host::Vote::kCount, value != 0, where);
}
inline int __syncthreads_or(int value, const std::source_location& where = std::source_location::current()) {
  return fulcrum::cuda_on_host::block_barrier(fulcrum::cuda_on_host::Vote::kOr, value != 0, where);
}
inline int __syncthreads_and(int value, const std::source_location& where = std::source_location::current()) {
  return fulcrum::cuda_on_host::block_barrier(fulcrum::cuda_on_host::Vote::kAnd, value != 0, where);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// Warp operations.
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu,
                       const std::source_location& where = std::source_location::current()) {
  fulcrum::cuda_on_host::warp_exchange(mask, 0, fulcrum::cuda_on_host::lane_of_thread(), where);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              const std::source_location& where = std::source_location::current()) {
  const int base = fulcrum::cuda_on_host::lane_of_thread() & ~(width - 1);
  return fulcrum::cuda_on_host::exchange(mask, value, base + (source & (width - 1)), where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  const std::source_location& where = std::source_location::current()) {
  const int lane = fulcrum::cuda_on_host::lane_of_thread(), end = (lane & ~(width - 1)) + width;
  const int source = (lane ^ lanes) < end ? lane ^ lanes : lane;
  return fulcrum::cuda_on_host::exchange(mask, value, source, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32,
                   const std::source_location& where = std::source_location::current()) {
  const int lane = fulcrum::cuda_on_host::lane_of_thread(), end = (lane & ~(width - 1)) + width;
  const int source = lane + static_cast<int>(lanes) < end ? lane + static_cast<int>(lanes) : lane;
  return fulcrum::cuda_on_host::exchange(mask, value, source, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32,
                 const std::source_location& where = std::source_location::current()) {
  const int lane = fulcrum::cuda_on_host::lane_of_thread(), begin = lane & ~(width - 1);
  const int source = lane - static_cast<int>(lanes) >= begin ? lane - static_cast<int>(lanes) : lane;
  return fulcrum::cuda_on_host::exchange(mask, value, source, where);
}
inline unsigned __ballot_sync(unsigned mask, int value,
                              const std::source_location& where = std::source_location::current()) {
  return static_cast<unsigned>(
      fulcrum::cuda_on_host::warp_exchange(mask, value != 0, fulcrum::cuda_on_host::kBallot, where));
}
inline int __any_sync(unsigned mask, int value,
                      const std::source_location& where = std::source_location::current()) {
  return __ballot_sync(mask, value, where) != 0;
}
inline int __all_sync(unsigned mask, int value,
                      const std::source_location& where = std::source_location::current()) {
  return __ballot_sync(mask, value, where) == mask;
}

// Atomic operations: no two fibers run at once.
template <class T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
  return std::exchange(*at, *at + value);
}
template <class T>
T atomicMax(T* at, std::type_identity_t<T> value) {
  return std::exchange(*at, *at < value ? value : *at);
}
template <class T>
T atomicExch(T* at, std::type_identity_t<T> value) {
  return std::exchange(*at, value);
}
template <class T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return std::exchange(*at, *at == expected ? value : *at);
}

// Loads and stores past a cache.
template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T __ldcs(const T* at) {
  return *at;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}
template <class T>
void __stcs(T* at, std::type_identity_t<T> value) {
  *at = value;
}

// Numbers.
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __dadd_rn(double x, double y) { return x + y; }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
template <class T>
constexpr T min(T a, std::type_identity_t<T> b) {
  return b < a ? b : a;
}
template <class T>
constexpr T max(T a, std::type_identity_t<T> b) {
  return a < b ? b : a;
}

// bf16 as cuda_bf16.h has it.
struct alignas(2) __nv_bfloat16 {
  uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {fulcrum::float_to_bf16(x)}; }
inline __nv_bfloat16 __float2bfloat16(float x) { return {fulcrum::float_to_bf16(x)}; }
inline float __bfloat162float(__nv_bfloat16 x) { return fulcrum::bf16_to_float(x.bits); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline float2 __bfloat1622float2(__nv_bfloat162 x) { return {__bfloat162float(x.x), __bfloat162float(x.y)}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) { return {x}; }

// The little of the runtime that launching code names.
using cudaError_t = int;
using cudaStream_t = void*;
inline constexpr cudaError_t cudaSuccess = 0, cudaErrorInvalidValue = 1;
// The record of what failed in this host thread, which a read clears.
namespace fulcrum::cuda_on_host {
inline thread_local cudaError_t last_error = cudaSuccess;
inline cudaError_t recorded(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}
}  // namespace fulcrum::cuda_on_host
inline cudaError_t cudaGetLastError() {
  return std::exchange(fulcrum::cuda_on_host::last_error, cudaSuccess);
}
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == 0 ? "no error" : "unspecified launch failure";
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  std::memset(at, value, bytes);
  return cudaSuccess;
}
