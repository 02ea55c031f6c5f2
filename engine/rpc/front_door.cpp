#include "engine/rpc/front_door.h"

#include <grpcpp/grpcpp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <string_view>
#include <utility>

#include "engine/core/text.h"
#include "engine/rpc/auth.h"
#include "engine/rpc/convert.h"
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

Result<std::shared_ptr<grpc::ServerCredentials>> read_credentials(const ServerOptions& options) {
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

}  // namespace

Result<std::unique_ptr<FrontDoor>> FrontDoor::open(const ServerOptions& options) {
  TRY(address, parse_address(options.listen));
  TRY_DO(check_doors(options, address));
  auto door = std::make_unique<FrontDoor>(FrontDoor{.options = options});
  TRY(keys, read_credentials(options));
  Gate gate = Gate::open_to_all();
  if (!options.token_file.empty()) {
    TRY(locked, Gate::from_file(options.token_file));
    gate = std::move(locked);
  }
  keys->SetAuthMetadataProcessor(std::make_shared<GateKeeper>(std::move(gate)));
  door->credentials = std::move(keys);
  TRY(acceptor, Acceptor::listen(address));
  door->address = {address.host, acceptor->port()};
  door->acceptor = std::move(acceptor);
  return door;
}

}  // namespace fulcrum
