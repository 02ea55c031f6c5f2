#include "engine/rpc/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "engine/core/address.h"
#include "engine/core/text.h"
#include "engine/rpc/auth.h"
#include "engine/rpc/convert.h"
#include "engine/rpc/grpc_log.h"
#include "engine/rpc/limits.h"

namespace fulcrum {
namespace {

Result<std::shared_ptr<grpc::ChannelCredentials>> credentials(const ClientOptions& options,
                                                              const Address& address) {
  const bool tls =
      options.tls || !options.tls_ca.empty() || !options.tls_cert.empty() || !is_loopback(address.host);
  if (!tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  if (!options.tls_ca.empty()) {
    TRY(roots, read_file(options.tls_ca, kMaxPemBytes));
    ssl.pem_root_certs = roots;
  }
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return invalid_argument("a client certificate needs its key: name both or neither");
  }
  if (!options.tls_cert.empty()) {
    TRY(certificate, read_file(options.tls_cert, kMaxPemBytes));
    TRY(key, read_file(options.tls_key, kMaxPemBytes));
    ssl.pem_cert_chain = certificate;
    ssl.pem_private_key = key;
  }
  return grpc::SslCredentials(ssl);
}

std::chrono::system_clock::time_point wall_time_in(Duration d) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<std::chrono::system_clock::duration>(d);
}

}  // namespace

Result<Connection> Connection::open(const ClientOptions& options) {
  route_grpc_log();
  TRY(address, parse_address(options.address));
  TRY(door, credentials(options, address));
  Connection connection;
  connection.address_ = options.address;
  if (!options.token_file.empty()) {
    TRY(token, read_token(options.token_file));
    connection.token_ = token;
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  // A restarted learner is found again soon: gRPC's own pauses begin at 1 s, and calls fail at once in them.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  connection.channel_ = grpc::CreateCustomChannel(options.address, door, arguments);
  return connection;
}

void Connection::prepare(grpc::ClientContext& context, Deadline deadline) const {
  if (!token_.empty()) context.AddMetadata("authorization", "Bearer " + token_);
  if (deadline.at != Instant::max()) context.set_deadline(wall_time_in(deadline.at - system_clock().now()));
}

Status Connection::wait_ready(Duration patience) const {
  if (channel_->WaitForConnected(wall_time_in(patience))) return ok_status();
  return unavailable("no server answers at " + in_quotes(address_) +
                     ": is it running, and is the address right?");
}

Status Connection::status(const grpc::Status& status) const {
  const Status ours = from_grpc(status);
  if (ours.code() != Code::kUnavailable) return ours;
  return ours.with_context("server " + in_quotes(address_));
}

}  // namespace fulcrum
