#include "bench/gpu/groups.h"

#include <array>

namespace fulcrum::gpu_check {
namespace {

// A group runs in a process of its own where time and faults must not reach the next one. What is new for a
// device gets its line here.
constexpr std::array kGroups = {
    CheckGroup{"layer_kernels", check_layer_kernels},
    CheckGroup{"token_losses", check_token_losses},
    CheckGroup{"divergences", check_divergences},
    CheckGroup{"optimizer_kernels", check_optimizer_kernels},
    CheckGroup{"weight_changes", check_weight_changes},
    CheckGroup{"piece_hashes", check_piece_hashes},
    CheckGroup{"attention", check_attention},
    CheckGroup{"heads", check_heads},
    CheckGroup{"policies", check_policies},
    CheckGroup{"updates", check_updates},
    CheckGroup{"published_weights", check_published_weights},
    CheckGroup{"decode_kernels", check_decode_kernels},
    CheckGroup{"paged_attention", check_paged_attention},
    CheckGroup{"draws", check_draws},
    CheckGroup{"generation", check_generation},
    CheckGroup{"device_sums", check_device_sums},
};

}  // namespace

std::span<const CheckGroup> check_groups() { return kGroups; }

}  // namespace fulcrum::gpu_check
