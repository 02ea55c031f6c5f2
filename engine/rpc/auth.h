// Who may call what: one table with a row for every RPC, one function that decides. An RPC without a row is
// refused, and a test walks the descriptors, so that a new one cannot be forgotten. Called by the server
// before any handler. Immutable after construction, thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/status.h"

namespace fulcrum {

// Roles are bits, so that a row can name several. Each stands alone: an operator is no worker.
enum Role : uint32_t {
  kRoleNone = 0,      // nobody has shown a token
  kRoleViewer = 1,    // reads jobs and metrics
  kRoleWorker = 2,    // generates, fetches weights, asks for rewards
  kRoleOperator = 4,  // submits and steers jobs
};

struct Permission {
  std::string_view method;  // "/fulcrum.v1.JobService/Submit"
  uint32_t roles;           // any of these; kRoleNone: everybody, with no token
};

std::span<const Permission> permission_table();

class Gate {
 public:
  // Everybody holds every role: a server on loopback without a token file.
  static Gate open_to_all();
  // One credential a line: "ROLE TOKEN", ROLE being viewer, worker or operator; # begins a comment. The file
  // must not be readable by others, a token has at least 32 characters. kInvalidArgument, kPermissionDenied,
  // kNotFound.
  static Result<Gate> from_file(const Path& path);

  // `authorization` is the metadata value as sent ("Bearer TOKEN"), empty if there was none.
  // kUnauthenticated: no token or an unknown one; kPermissionDenied: the role may not, or the method has no
  // row.
  Status check(std::string_view method, std::string_view authorization) const;

 private:
  struct Credential {
    std::string sha256;  // the token itself is not kept
    uint32_t role;
  };
  uint32_t roles_of(std::string_view authorization) const;

  bool open_ = false;
  std::vector<Credential> credentials_;
};

// The token a client sends: the first credential of a token file ("ROLE TOKEN" or a bare token a line).
Result<std::string> read_token(const Path& path);

}  // namespace fulcrum
