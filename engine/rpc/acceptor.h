// Listens and accepts in gRPC's place. gRPC stops accepting for good at the first connection for which it
// gets no descriptor; here what would leave too few of them is closed at once, and the next connection is
// served when there is room again. Called by server.cpp. One thread of its own from serve() to stop().
#pragma once

#include <grpcpp/server_builder.h>

#include <memory>
#include <thread>
#include <vector>

#include "engine/core/address.h"

namespace fulcrum {

class Acceptor {
 public:
  using Server = grpc::experimental::ExternalConnectionAcceptor;

  // Listens on every address that the host's name stands for. kInvalidArgument: no such host;
  // kFailedPrecondition: the port is in use; kUnavailable.
  static Result<std::unique_ptr<Acceptor>> listen(const Address& address);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  int port() const { return port_; }
  // Once: every connection goes to `server`.
  void serve(std::unique_ptr<Server> server);
  // Nothing is accepted afterwards. Idempotent.
  void stop();

 private:
  Acceptor() = default;
  void run();
  void take(int listener);

  std::vector<int> listeners_;
  int port_ = 0;
  int wake_ = -1;  // an eventfd
  bool full_ = false;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

}  // namespace fulcrum
