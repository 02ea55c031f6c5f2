// Where a service is or listens. Called by the servers, the clients and the check of a job. Pure.
#pragma once

#include <string>

#include "engine/core/status.h"

namespace fulcrum {

struct Address {
  std::string host;
  int port = 0;
};
// "HOST:PORT", "[::1]:PORT". kInvalidArgument.
Result<Address> parse_address(const std::string& text);
// 127.0.0.0/8, ::1 and "localhost".
bool is_loopback(const std::string& host);

}  // namespace fulcrum
