// The hashes by which weights on a device and on the host are compared: those of the host, and another one
// where a bit is another one.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "bench/gpu/groups.h"
#include "bench/gpu/kernel_call.h"
#include "engine/kernels/piece_hashes/op.h"

namespace fulcrum::gpu_check {
namespace {

// As they lie on the CPU, whole pieces of bf16.
at::Tensor hashes_here(const at::Tensor& values) {
  const at::Tensor out = at::empty({values.numel() / kernels::kHashedPiece}, at::kLong);
  kernels::piece_hashes(reinterpret_cast<const uint16_t*>(values.const_data_ptr()), values.numel(),
                        reinterpret_cast<uint64_t*>(out.mutable_data_ptr()));
  return out;
}

at::Tensor hashes_there(const at::Tensor& values, const Kernels& k) {
  const int64_t pieces = values.numel() / kernels::kHashedPiece;
  const Guarded in(values, k.device, 0), out(at::full({pieces}, 0, at::kLong), k.device, 1);
  k.require(k.table.piece_hashes(in.data<uint16_t>(), pieces, out.data<uint64_t>(), k.stream));
  return out.values();
}

}  // namespace

void check_piece_hashes(const CheckOptions& options, Checks& checks) {
  const auto k = Kernels::find(options, checks, "piece_hashes");
  if (!k) return;
  checks.check("piece_hashes", 0, [&](Worst& worst) {
    for (const int64_t pieces : {int64_t{0}, int64_t{1}, int64_t{5}, int64_t{33}, int64_t{8191}}) {
      if (options.small && pieces > 100) continue;
      const at::Tensor values = numbers(pieces * kernels::kHashedPiece, 1).to(at::kBFloat16);
      const at::Tensor got = twice([&] { return std::vector<at::Tensor>{hashes_there(values, *k)}; }).front();
      const std::string where = std::to_string(pieces) + " pieces";
      worst.add(got.equal(hashes_here(values)) ? 0 : 1, where);
      if (pieces == 0) continue;
      auto* const bits = reinterpret_cast<uint16_t*>(values.mutable_data_ptr());
      bits[values.numel() - 1] ^= 1;
      const at::Tensor same = hashes_there(values, *k).eq(got);
      worst.add(same.sum().item<int64_t>() == pieces - 1 ? 0 : 1, where + ", the last bit changed");
    }
  });
}

}  // namespace fulcrum::gpu_check
