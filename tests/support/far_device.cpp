#include "tests/support/far_device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceType.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace fulcrum::testing {
namespace {

constexpr c10::DeviceType kFar = c10::DeviceType::PrivateUse1;

// Blocks of memory, closed to the host unless somebody holds them open.
class FarMemory final : public c10::Allocator {
 public:
  static FarMemory& instance() {
    static FarMemory memory;
    return memory;
  }

  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(kFar, 0);
    if (bytes == 0) return {nullptr, nullptr, &free_block, device};
    const std::lock_guard lock(mutex_);
    TORCH_CHECK_WITH(OutOfMemoryError, in_use_ + static_cast<int64_t>(bytes) <= limit_,
                     "far out of memory. Tried to allocate ", bytes,
                     " bytes. If reserved memory is large, wait");
    void* block = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) throw std::bad_alloc();
    in_use_ += static_cast<int64_t>(bytes);
    peak_ = std::max(peak_, in_use_);
    const auto at = blocks_.emplace(block, Block{bytes, open_}).first;
    if (open_ > 0) protect(*at, PROT_READ | PROT_WRITE);
    return {block, block, &free_block, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    const FarAccess access;
    std::memcpy(to, from, bytes);
  }

  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
  void set_limit(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    limit_ = bytes;
  }
  int64_t take_peak() {
    const std::lock_guard lock(mutex_);
    return std::exchange(peak_, in_use_);
  }

  void open_all() {
    const std::lock_guard lock(mutex_);
    ++open_;
    for (auto& block : blocks_) open(block);
  }
  void close_all() {
    const std::lock_guard lock(mutex_);
    --open_;
    for (auto& block : blocks_) close(block);
  }
  // The block that a storage begins at.
  void open_one(void* block) {
    const std::lock_guard lock(mutex_);
    if (const auto at = blocks_.find(block); at != blocks_.end()) open(*at);
  }
  void close_one(void* block) {
    const std::lock_guard lock(mutex_);
    if (const auto at = blocks_.find(block); at != blocks_.end()) close(*at);
  }

 private:
  struct Block {
    size_t bytes;
    int open;  // by how many
  };
  using Entry = std::pair<void* const, Block>;

  static void free_block(void* block) {
    if (block == nullptr) return;
    FarMemory& self = instance();
    const std::lock_guard lock(self.mutex_);
    const auto at = self.blocks_.find(block);
    ::munmap(block, at->second.bytes);
    self.in_use_ -= static_cast<int64_t>(at->second.bytes);
    self.blocks_.erase(at);
  }
  static void protect(const Entry& e, int mode) { ::mprotect(e.first, e.second.bytes, mode); }
  static void open(Entry& e) {
    if (++e.second.open == 1) protect(e, PROT_READ | PROT_WRITE);
  }
  static void close(Entry& e) {
    if (--e.second.open == 0) protect(e, PROT_NONE);
  }

  std::mutex mutex_;
  std::map<void*, Block> blocks_;
  int open_ = 0;
  int64_t in_use_ = 0, peak_ = 0, limit_ = kNoLimit;
};

// One tensor's memory, for a copy.
class TensorAccess {
 public:
  explicit TensorAccess(const at::Tensor& x) : block_(x.is_cpu() ? nullptr : x.storage().mutable_data()) {
    FarMemory::instance().open_one(block_);
  }
  ~TensorAccess() { FarMemory::instance().close_one(block_); }
  TensorAccess(const TensorAccess&) = delete;
  TensorAccess& operator=(const TensorAccess&) = delete;

 private:
  void* block_;
};

std::atomic<int64_t> operations = 0, bytes_read = 0;

// The same memory as a tensor of the CPU; for use while it is open.
at::Tensor as_host(const at::Tensor& x) {
  if (x.is_cpu()) return x;
  void* data = x.storage().mutable_data();
  const c10::Storage storage(c10::Storage::use_byte_size_t(), x.storage().nbytes(),
                             c10::DataPtr(data, c10::DeviceType::CPU), nullptr, false);
  at::Tensor out = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), x.dtype());
  out.unsafeGetTensorImpl()->set_storage_offset(x.storage_offset());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(x.sizes(), x.strides());
  return out;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  ++operations;
  if (!from.is_cpu() && to.is_cpu()) bytes_read += static_cast<int64_t>(from.nbytes());
  const TensorAccess read(from), write(to);
  as_host(to).copy_(as_host(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &FarMemory::instance(),
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   dtype.value_or(at::kFloat), format);
}

at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &FarMemory::instance(),
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), dtype.value_or(at::kFloat));
}

at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef size) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}
at::Tensor reshape_alias(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
}
at::Tensor as_strided(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                      std::optional<c10::SymInt> offset) {
  return at::native::as_strided_tensorimpl(self, C10_AS_INTARRAYREF_SLOW(size),
                                           C10_AS_INTARRAYREF_SLOW(stride),
                                           offset ? std::make_optional(offset->expect_int()) : std::nullopt);
}

const at::Tensor& resize(const at::Tensor& self, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  const std::vector<int64_t> sizes = C10_AS_INTARRAYREF_SLOW(size).vec();
  at::Tensor fresh = at::empty(sizes, self.options());
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(fresh.storage());
  self.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return self;
}

at::Scalar local_scalar(const at::Tensor& self) { return self.cpu().item(); }

// Everything else: one place for all tensors, then the CPU's code on copies.
void on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  ++operations;
  for (const c10::IValue& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    const auto check = [&](const at::Tensor& x) {
      if (x.defined() && x.dim() > 0 && x.device().type() != kFar)
        throw std::runtime_error("tensors of two devices in " + op.schema().name());
    };
    if (value.isTensor()) check(value.toTensor());
    if (value.isTensorList()) {
      for (const at::Tensor& x : value.toTensorVector()) check(x);
    }
  }
  at::native::cpu_fallback(op, stack);
}

// What LibTorch has for GPUs alone.
at::Tensor mm_dtype(const at::Tensor& a, const at::Tensor& b, at::ScalarType type) {
  return at::mm(a.to(type), b.to(type));
}
at::Tensor& mm_dtype_out(const at::Tensor& a, const at::Tensor& b, at::ScalarType type, at::Tensor& out) {
  return out.copy_(mm_dtype(a, b, type));
}
at::Tensor addmm_dtype(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b, at::ScalarType type,
                       const at::Scalar& beta, const at::Scalar& alpha) {
  return x.to(type).mul(beta).add(mm_dtype(a, b, type), alpha);
}
at::Tensor& addmm_dtype_out(const at::Tensor& x, const at::Tensor& a, const at::Tensor& b,
                            at::ScalarType type, const at::Scalar& beta, const at::Scalar& alpha,
                            at::Tensor& out) {
  return out.copy_(addmm_dtype(x, a, b, type, beta, alpha));
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_host>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("view", &view);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("as_strided", &as_strided);
  m.impl("resize_", &resize);
  m.impl("_local_scalar_dense", &local_scalar);
  m.impl("mm.dtype", &mm_dtype);
  m.impl("mm.dtype_out", &mm_dtype_out);
  m.impl("addmm.dtype", &addmm_dtype);
  m.impl("addmm.dtype_out", &addmm_dtype_out);
}

// LibTorch asks it whether there is an accelerator.
struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};
[[maybe_unused]] const bool registered = [] {
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  c10::register_privateuse1_backend("far");
  return true;
}();

// One device whose work is done when a call returns.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kFar; }
  c10::Device exchangeDevice(c10::Device) const override { return far_device(); }
  c10::Device getDevice() const override { return far_device(); }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, far_device());
  }
  void* getStreamNativeHandle(const c10::Stream) const override { return nullptr; }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, c10::DeviceIndex) const noexcept override {}
  void synchronizeEvent(void*) const override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

}  // namespace

at::Device far_device() { return {kFar, 0}; }

FarAccess::FarAccess() { FarMemory::instance().open_all(); }
FarAccess::~FarAccess() { FarMemory::instance().close_all(); }

int64_t far_operations() { return operations; }
int64_t far_bytes_read() { return bytes_read; }

int64_t take_far_peak() { return FarMemory::instance().take_peak(); }
FarLimit::FarLimit(int64_t bytes) { FarMemory::instance().set_limit(bytes); }
FarLimit::~FarLimit() { FarMemory::instance().set_limit(FarMemory::kNoLimit); }

}  // namespace fulcrum::testing
