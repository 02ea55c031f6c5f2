// Whether two processes draw the same tokens from the same weights. The worker sends its fingerprint when it
// registers; a learner in deterministic mode refuses one that is not its own. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "policy/weights/tensor.h"

namespace fulcrum {

// "fulcrum 0.1.0 fp32 1b2c3d4e5f607182": the version, the type of the arithmetic (kF32, or kBF16: "bf16"),
// and a hash over the tokens and log-probs that a small fixed model gives on this machine with this build. It
// is measured, so it notices a compiler, a libm or an instruction set that changes bits; those that do not
// (AVX2 or AVX-512, any number of threads) may work together. In bf16 a CPU with the dot-product instruction
// may give other bits than one without: then the fingerprints differ. Takes about a millisecond; the first
// call computes it.
const std::string& numeric_fingerprint(DType dtype = DType::kF32);

// For people: "fulcrum 0.1.0, g++ 12.2.0, AVX3, 2 threads, fp32, bf16 by vdpbf16ps".
std::string describe_decoder(int64_t threads);

}  // namespace fulcrum
