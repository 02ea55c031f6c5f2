// The instruction sets the kernels are compiled for; included before Highway, in every op_cpu.cpp. x86:
// AVX-512, AVX2 and the emulation that every machine runs. The sets between have no fused multiply-add, so
// they would need the emulation's slow path anyway.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
