#include "engine/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <mutex>

#include "engine/core/address.h"
#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/rpc/acceptor.h"
#include "engine/rpc/auth.h"
#include "engine/rpc/convert.h"
#include "engine/rpc/grpc_log.h"
#include "engine/rpc/limits.h"

namespace fulcrum {
namespace {

// Runs before every call, of every service, health and reflection included. gRPC hands the method in ":path".
class GateKeeper final : public grpc::AuthMetadataProcessor {
 public:
  explicit GateKeeper(Gate gate) : gate_(std::move(gate)) {}
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext*, OutputMetadata* consumed,
                       OutputMetadata*) override {
    const auto value = [&](const char* key) {
      const auto it = metadata.find(key);
      return it == metadata.end() ? std::string_view()
                                  : std::string_view(it->second.data(), it->second.size());
    };
    const std::string_view authorization = value("authorization");
    if (!authorization.empty()) consumed->emplace("authorization", std::string(authorization));
    return to_grpc(gate_.check(value(":path"), authorization));
  }

 private:
  Gate gate_;
};

Status check_doors(const ServerOptions& options, const Address& address) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return invalid_argument("TLS needs both a certificate and its key; only one is named");
  }
  if (!options.tls_client_ca.empty() && options.tls_cert.empty()) {
    return invalid_argument("client certificates need TLS: name the server's certificate and key too");
  }
  if (is_loopback(address.host)) return ok_status();
  if (options.tls_cert.empty() || options.token_file.empty()) {
    return invalid_argument(
        "refusing to listen on " + in_quotes(options.listen) +
        ", which other machines can reach, without TLS and a token file: name a certificate, "
        "its key and a token file, or listen on 127.0.0.1");
  }
  return ok_status();
}

// gRPC would find out with the first connection.
bool fit(const std::string& certificate, const std::string& key) {
  const auto reader = [](const std::string& pem) {
    return std::unique_ptr<BIO, int (*)(BIO*)>(::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                               ::BIO_free);
  };
  const std::unique_ptr<X509, void (*)(X509*)> x509(
      ::PEM_read_bio_X509(reader(certificate).get(), nullptr, nullptr, nullptr), ::X509_free);
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> own(
      ::PEM_read_bio_PrivateKey(reader(key).get(), nullptr, nullptr, nullptr), ::EVP_PKEY_free);
  const bool yes = x509 && own && ::X509_check_private_key(x509.get(), own.get()) == 1;
  ::ERR_clear_error();
  return yes;
}

Result<std::shared_ptr<grpc::ServerCredentials>> credentials(const ServerOptions& options) {
  // Local credentials are plaintext on the wire, but only this machine gets in, and they can carry the gate.
  if (options.tls_cert.empty()) return grpc::experimental::LocalServerCredentials(LOCAL_TCP);
  grpc::SslServerCredentialsOptions tls(options.tls_client_ca.empty()
                                            ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                            : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  TRY(certificate, read_file(options.tls_cert, kMaxPemBytes));
  TRY(key, read_file(options.tls_key, kMaxPemBytes));
  if (!fit(certificate, key)) {
    return invalid_argument(in_quotes(options.tls_cert.string()) + " and " +
                            in_quotes(options.tls_key.string()) + " are no certificate and its key in PEM");
  }
  tls.pem_key_cert_pairs.push_back({key, certificate});
  if (!options.tls_client_ca.empty()) {
    TRY(roots, read_file(options.tls_client_ca, kMaxPemBytes));
    tls.pem_root_certs = roots;
  }
  return grpc::SslServerCredentials(tls);
}

void set_limits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 128);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  // Clients that ping more often than this are told to go away; ours ping every kKeepaliveMs.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveMs / 3);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
}

void prepare_process() {
  route_grpc_log();
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

}  // namespace

struct RpcServer::Parts {
  Address address;
  std::unique_ptr<Acceptor> acceptor;
  std::unique_ptr<grpc::Server> server;
  std::once_flag stopped;
};

Result<std::unique_ptr<RpcServer>> RpcServer::start(const ServerOptions& options,
                                                    std::span<grpc::Service* const> services) {
  TRY(address, parse_address(options.listen));
  TRY_DO(check_doors(options, address));
  TRY(door, credentials(options));
  Gate gate = Gate::open_to_all();
  if (!options.token_file.empty()) {
    TRY(locked, Gate::from_file(options.token_file));
    gate = std::move(locked);
  }
  door->SetAuthMetadataProcessor(std::make_shared<GateKeeper>(std::move(gate)));

  prepare_process();
  grpc::ServerBuilder builder;
  set_limits(builder);
  auto parts = std::make_unique<Parts>();
  TRY(acceptor, Acceptor::listen(address));
  parts->acceptor = std::move(acceptor);
  parts->address = {address.host, parts->acceptor->port()};
  auto connections = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, door);
  for (grpc::Service* service : services) builder.RegisterService(service);
  parts->server = builder.BuildAndStart();
  if (!parts->server) return unavailable("cannot serve on " + in_quotes(options.listen));
  parts->acceptor->serve(std::move(connections));
  log_info("rpc: listening on " + in_quotes(address.host) + " port " + std::to_string(parts->address.port) +
           (options.tls_cert.empty() ? ", this machine only" : ", TLS") +
           (options.token_file.empty() ? "" : ", with tokens"));
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(parts)));
}

RpcServer::RpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
RpcServer::~RpcServer() { stop(Duration::zero()); }

int RpcServer::port() const { return parts_->address.port; }

std::string RpcServer::address() const {
  const std::string& host = parts_->address.host;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port());
}

void RpcServer::set_serving(bool serving) {
  parts_->server->GetHealthCheckService()->SetServingStatus(serving);
}

void RpcServer::stop(Duration grace) {
  std::call_once(parts_->stopped, [&] {
    set_serving(false);
    parts_->acceptor->stop();
    parts_->server->Shutdown(std::chrono::system_clock::now() +
                             std::chrono::duration_cast<std::chrono::system_clock::duration>(grace));
    parts_->server->Wait();
  });
}

}  // namespace fulcrum
