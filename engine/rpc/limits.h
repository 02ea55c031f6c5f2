// The numbers both ends of a connection must agree on.
#pragma once

#include <cstdint>

namespace fulcrum {

inline constexpr int kMaxMessageBytes = 4 << 20;  // gRPC's own default: any client keeps it
inline constexpr int64_t kWeightChunkBytes = 1
                                             << 20;  // the size that moved most bytes a second over loopback
inline constexpr int kKeepaliveMs = 30'000;          // pings of an idle connection, both ways
inline constexpr int kKeepaliveTimeoutMs = 10'000;
inline constexpr uint64_t kMaxPemBytes = 1 << 20;

}  // namespace fulcrum
