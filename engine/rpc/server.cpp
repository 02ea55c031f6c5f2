#include "engine/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/impl/server_initializer.h>

#include <mutex>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/rpc/front_door.h"
#include "engine/rpc/grpc_log.h"
#include "engine/rpc/limits.h"

namespace fulcrum {
namespace {

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

// Finds where a server keeps the names of its services, reflection and health among them once it is built.
class ServiceNames final : public grpc::ServerBuilderOption {
 public:
  explicit ServiceNames(const std::vector<std::string>** names) : names_(names) {}
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->push_back(std::make_unique<Plugin>(names_));
  }

 private:
  class Plugin final : public grpc::ServerBuilderPlugin {
   public:
    explicit Plugin(const std::vector<std::string>** names) : names_(names) {}
    std::string name() override { return "fulcrum_service_names"; }
    void InitServer(grpc::ServerInitializer*) override {}
    void Finish(grpc::ServerInitializer* server) override { *names_ = server->GetServiceList(); }
    void ChangeArguments(const std::string&, void*) override {}

   private:
    const std::vector<std::string>** names_;
  };
  const std::vector<std::string>** names_;
};

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
  std::unique_ptr<FrontDoor> door;
  std::unique_ptr<grpc::Server> server;
  std::once_flag stopped;
};

Result<std::unique_ptr<RpcServer>> RpcServer::start(const ServerOptions& options,
                                                    std::span<grpc::Service* const> services) {
  TRY(door, FrontDoor::open(options));
  return start(std::move(door), services);
}

Result<std::unique_ptr<RpcServer>> RpcServer::start(std::unique_ptr<FrontDoor> door,
                                                    std::span<grpc::Service* const> services) {
  prepare_process();
  grpc::ServerBuilder builder;
  set_limits(builder);
  auto connections = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, door->credentials);
  for (grpc::Service* service : services) builder.RegisterService(service);
  const std::vector<std::string>* names = nullptr;  // the server's
  builder.SetOption(std::make_unique<ServiceNames>(&names));
  auto parts = std::make_unique<Parts>();
  parts->door = std::move(door);
  parts->server = builder.BuildAndStart();
  const auto& [options, address, acceptor, credentials] = *parts->door;
  if (!parts->server) return unavailable("cannot serve on " + in_quotes(options.listen));
  // Whoever asks by name is told what the whole server does; set_serving() changes all of them.
  for (const std::string& name : *names) parts->server->GetHealthCheckService()->SetServingStatus(name, true);
  acceptor->serve(std::move(connections));
  log_info("rpc: listening on " + in_quotes(address.host) + " port " + std::to_string(address.port) +
           (options.tls_cert.empty() ? ", this machine only" : ", TLS") +
           (options.token_file.empty() ? "" : ", with tokens"));
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(parts)));
}

RpcServer::RpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
RpcServer::~RpcServer() { stop(Duration::zero()); }

int RpcServer::port() const { return parts_->door->address.port; }

std::string RpcServer::address() const {
  const std::string& host = parts_->door->address.host;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port());
}

void RpcServer::set_serving(bool serving) {
  parts_->server->GetHealthCheckService()->SetServingStatus(serving);
}

void RpcServer::stop(Duration grace) {
  std::call_once(parts_->stopped, [&] {
    set_serving(false);
    parts_->door->acceptor->stop();
    parts_->server->Shutdown(std::chrono::system_clock::now() +
                             std::chrono::duration_cast<std::chrono::system_clock::duration>(grace));
    parts_->server->Wait();
  });
}

}  // namespace fulcrum
