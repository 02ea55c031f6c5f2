// A connection to a Fulcrum service: address, TLS, token. Used by the CLI's verbs, the worker and the reward
// client. Immutable, thread-safe; a connection reconnects by itself.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "engine/core/clock.h"
#include "engine/core/files.h"
#include "engine/core/status.h"

namespace fulcrum {

struct ClientOptions {
  std::string address = "127.0.0.1:50051";
  bool tls = false;        // off the loopback it is always on
  Path tls_ca;             // PEM roots to trust; empty with TLS: the system's
  Path tls_cert, tls_key;  // shown to servers that ask for a client certificate
  Path token_file;         // its first token is sent with every call
};

class Connection {
 public:
  // Reads the files and makes the channel; does not wait for the server.
  static Result<Connection> open(const ClientOptions& options);

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  const std::string& address() const { return address_; }
  // Puts the token and a deadline on a call. A call without a time limit (a stream) passes Deadline::never().
  void prepare(grpc::ClientContext& context, Deadline deadline) const;
  // kUnavailable if the server does not answer in time.
  Status wait_ready(Duration patience) const;
  // The Status of a finished call, naming the server where it could not be reached.
  Status status(const grpc::Status& status) const;

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::string address_;
  std::string token_;
};

}  // namespace fulcrum
