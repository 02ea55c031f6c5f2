// The checks of each group of kernels, and of what is made of them; listed in groups.cpp, called by main.cpp
// and the tests. One thread.
#pragma once

#include "bench/gpu/checks.h"

namespace fulcrum::gpu_check {

void check_layer_kernels(const CheckOptions& options, Checks& checks);
void check_token_losses(const CheckOptions& options, Checks& checks);
void check_divergences(const CheckOptions& options, Checks& checks);
void check_optimizer_kernels(const CheckOptions& options, Checks& checks);
void check_weight_changes(const CheckOptions& options, Checks& checks);
void check_piece_hashes(const CheckOptions& options, Checks& checks);
void check_attention(const CheckOptions& options, Checks& checks);
void check_heads(const CheckOptions& options, Checks& checks);
void check_policies(const CheckOptions& options, Checks& checks);
void check_decode_kernels(const CheckOptions& options, Checks& checks);
void check_paged_attention(const CheckOptions& options, Checks& checks);
void check_draws(const CheckOptions& options, Checks& checks);
void check_generation(const CheckOptions& options, Checks& checks);
void check_published_weights(const CheckOptions& options, Checks& checks);
void check_updates(const CheckOptions& options, Checks& checks);
void check_device_sums(const CheckOptions& options, Checks& checks);

}  // namespace fulcrum::gpu_check
