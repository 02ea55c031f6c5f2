// What the tests of the rpc rooms share: a server on a free loopback port, connections to it, token files.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "engine/rpc/client.h"
#include "engine/rpc/server.h"

namespace fulcrum::testing {

inline const std::string kOperatorToken(40, 'o');
inline const std::string kViewerToken(40, 'v');
inline const std::string kWorkerToken(40, 'w');

inline std::filesystem::path write_secret(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << text;
  std::filesystem::permissions(path,
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  return path;
}

inline std::filesystem::path write_tokens(const std::filesystem::path& folder) {
  return write_secret(folder / "tokens", "# who may what\noperator " + kOperatorToken + "\nviewer " +
                                             kViewerToken + "\nworker " + kWorkerToken + "\n");
}

inline std::unique_ptr<RpcServer> serve(std::vector<grpc::Service*> services, ServerOptions options = {}) {
  options.listen = "127.0.0.1:0";
  auto server = RpcServer::start(options, services);
  EXPECT_TRUE(server.ok()) << server.status().message();
  return server.ok() ? std::move(server).value() : nullptr;
}

inline Connection connect_to(const std::string& address, const std::filesystem::path& token_file = {}) {
  ClientOptions options;
  options.address = address;
  options.token_file = token_file;
  auto connection = Connection::open(options);
  EXPECT_TRUE(connection.ok()) << connection.status().message();
  return std::move(connection).value();
}

// A call that may take ten seconds; tests never come near it.
inline void prepare(const Connection& connection, grpc::ClientContext& context) {
  connection.prepare(context, Deadline::in(std::chrono::seconds(10)));
}

// Any method with raw bytes: what a client of another language, or a hostile one, may send. The bytes are the
// answer (of a stream: the first), the status is the call's.
struct RawAnswer {
  grpc::Status status;
  std::string bytes;
};

inline RawAnswer raw_call(const Connection& connection, const std::string& method, const std::string& bytes) {
  struct Call : grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
    void OnReadDone(bool ok) override {
      if (ok) got = true;
    }
    void OnDone(const grpc::Status& status) override { done.set_value(status); }
    grpc::ByteBuffer request, response;
    bool got = false;
    std::promise<grpc::Status> done;
  } call;
  const grpc::Slice slice(bytes);
  call.request = grpc::ByteBuffer(&slice, 1);
  grpc::ClientContext context;
  prepare(connection, context);
  grpc::GenericStub stub(connection.channel());
  stub.PrepareBidiStreamingCall(&context, method, {}, &call);
  call.StartWriteLast(&call.request, grpc::WriteOptions());
  call.StartRead(&call.response);
  call.StartCall();
  RawAnswer answer{call.done.get_future().get(), {}};
  std::vector<grpc::Slice> slices;
  if (call.got && call.response.Dump(&slices).ok()) {
    for (const grpc::Slice& s : slices)
      answer.bytes.append(reinterpret_cast<const char*>(s.begin()), s.size());
  }
  return answer;
}

}  // namespace fulcrum::testing
