#include <gmock/gmock.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "engine/rpc/reactor.h"
#include "fulcrum/v1/reward.grpc.pb.h"
#include "tests/support/rpc_test.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using namespace ::fulcrum::testing;

// A self-signed certificate for 127.0.0.1, written as PREFIX.pem and PREFIX.key.
void make_certificate(const Path& prefix) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* cert = X509_new();
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
  X509_set_pubkey(cert, key);
  X509_NAME* name = X509_get_subject_name(cert);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("test"), -1, -1,
                             0);
  X509_set_issuer_name(cert, name);
  for (const auto& [nid, value] :
       {std::pair{NID_subject_alt_name, "IP:127.0.0.1"}, {NID_basic_constraints, "CA:TRUE"}}) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
  }
  X509_sign(cert, key, EVP_sha256());
  FILE* pem = std::fopen((prefix.string() + ".pem").c_str(), "w");
  PEM_write_X509(pem, cert);
  std::fclose(pem);
  FILE* secret = std::fopen((prefix.string() + ".key").c_str(), "w");
  PEM_write_PrivateKey(secret, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(secret);
  X509_free(cert);
  EVP_PKEY_free(key);
}

class Echo final : public v1::RewardService::CallbackService {
 public:
  CallThreads threads{4};
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext*, const v1::ScoreRequest*,
                                  v1::ScoreResponse* response) override {
    return answer(threads, response,
                  [](std::stop_token) -> Result<v1::ScoreResponse> { return v1::ScoreResponse(); });
  }
};

class Tls : public ::testing::Test {
 protected:
  void SetUp() override {
    make_certificate(folder_.path() / "server");
    make_certificate(folder_.path() / "client");
    options_.listen = "0.0.0.0:0";
    options_.tls_cert = folder_.path() / "server.pem";
    options_.tls_key = folder_.path() / "server.key";
    options_.token_file = write_tokens(folder_.path());
    client_.tls_ca = folder_.path() / "server.pem";
    client_.token_file = write_secret(folder_.path() / "mine", kWorkerToken);
  }
  std::unique_ptr<RpcServer> started() {
    std::vector<grpc::Service*> services{&echo_};
    auto server = RpcServer::start(options_, services);
    EXPECT_TRUE(server.ok()) << server.status().message();
    client_.address = "127.0.0.1:" + std::to_string((*server)->port());
    return std::move(server).value();
  }
  Code call() {
    auto connection = Connection::open(client_);
    EXPECT_TRUE(connection.ok()) << connection.status().message();
    grpc::ClientContext context;
    prepare(*connection, context);
    v1::ScoreResponse response;
    return connection
        ->status(v1::RewardService::NewStub(connection->channel())->Score(&context, {}, &response))
        .code();
  }

  TempFolder folder_;
  Echo echo_;
  ServerOptions options_;
  ClientOptions client_;
};

TEST_F(Tls, ServesEveryInterfaceToWhoeverShowsAToken) {
  const auto server = started();
  EXPECT_EQ(call(), Code::kOk);
  client_.token_file.clear();
  EXPECT_EQ(call(), Code::kUnauthenticated);
}

TEST_F(Tls, TurnsPlaintextAndStrangeAuthoritiesAway) {
  const auto server = started();
  client_.tls_ca = folder_.path() / "client.pem";
  EXPECT_EQ(call(), Code::kUnavailable);
  client_.tls_ca.clear();
  EXPECT_EQ(call(), Code::kUnavailable);
}

TEST_F(Tls, WantsAClientCertificateWhereItWasToldTo) {
  options_.tls_client_ca = folder_.path() / "client.pem";
  const auto server = started();
  EXPECT_EQ(call(), Code::kUnavailable);
  client_.tls_cert = folder_.path() / "client.pem";
  client_.tls_key = folder_.path() / "client.key";
  EXPECT_EQ(call(), Code::kOk);
  client_.tls_cert = folder_.path() / "server.pem";
  client_.tls_key = folder_.path() / "server.key";
  EXPECT_EQ(call(), Code::kUnavailable);
}

TEST_F(Tls, SaysWhichFileIsMissing) {
  options_.tls_key = folder_.path() / "none.key";
  const Status status = RpcServer::start(options_, {}).status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(status.message(), ::testing::HasSubstr("none.key"));
  options_.tls_key.clear();
  EXPECT_EQ(RpcServer::start(options_, {}).status().code(), Code::kInvalidArgument);
}

TEST_F(Tls, RefusesACertificateThatIsNoneOrFitsNoKey) {
  options_.tls_key = folder_.path() / "client.key";
  EXPECT_FALSE(RpcServer::start(options_, {}).ok());
  options_.tls_cert = write_secret(folder_.path() / "junk", "junk");
  EXPECT_FALSE(RpcServer::start(options_, {}).ok());
}

}  // namespace
}  // namespace fulcrum
