// Where a server listens: its address bound, its keys and tokens read. All that a user's options can get
// wrong goes wrong here, before anybody is answered. Called by RpcServer, and by a learner, which opens it
// before it makes its state. One thread.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "engine/core/address.h"
#include "engine/core/status.h"
#include "engine/rpc/acceptor.h"
#include "engine/rpc/server.h"

namespace fulcrum {

struct FrontDoor {
  ServerOptions options;
  Address address;                     // with the port that was taken
  std::unique_ptr<Acceptor> acceptor;  // who calls waits until it serves
  std::shared_ptr<grpc::ServerCredentials> credentials;

  // Errors: RpcServer::start's.
  static Result<std::unique_ptr<FrontDoor>> open(const ServerOptions& options);
};

}  // namespace fulcrum
