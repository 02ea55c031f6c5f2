// gRPC writes its own lines to stderr, many of them for one refused connection. They go to our log, as debug
// lines: what the user must know is in the Status.
#pragma once

namespace fulcrum {

// Once a process; further calls do nothing. Thread-safe.
void route_grpc_log();

}  // namespace fulcrum
