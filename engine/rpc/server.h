// The front door: one gRPC server with every service, the gate, health and reflection. Started by the learner
// and the reward service. It listens on loopback unless told otherwise, and refuses to listen elsewhere
// without TLS and tokens.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "engine/core/clock.h"
#include "engine/core/files.h"
#include "engine/core/status.h"

namespace grpc {
class Service;
}

namespace fulcrum {

struct ServerOptions {
  std::string listen = "127.0.0.1:50051";  // HOST:PORT; port 0: any free one
  Path tls_cert, tls_key;                  // PEM; empty: no TLS
  Path tls_client_ca;                      // PEM; if given, clients must show a certificate it has signed
  Path token_file;                         // see auth.h; empty: no tokens (loopback only)
};

struct FrontDoor;  // front_door.h

class RpcServer {
 public:
  // The services are not owned; they must live until stop() has returned. kInvalidArgument,
  // kFailedPrecondition (not loopback and no TLS or tokens), kUnavailable (port in use), and what reading the
  // files says.
  static Result<std::unique_ptr<RpcServer>> start(const ServerOptions& options,
                                                  std::span<grpc::Service* const> services);
  // Behind a door that is open already.
  static Result<std::unique_ptr<RpcServer>> start(std::unique_ptr<FrontDoor> door,
                                                  std::span<grpc::Service* const> services);
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  int port() const;
  std::string address() const;  // where clients on this machine find it
  // What the health service answers, for the server as a whole ("") and for each of its services by name;
  // NOT_FOUND for any other name.
  void set_serving(bool serving);
  // Health says no, nothing new is accepted, calls get `grace` to end and are then cancelled. Idempotent;
  // blocks until every call has ended.
  void stop(Duration grace = std::chrono::milliseconds(500));

 private:
  struct Parts;
  explicit RpcServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace fulcrum
