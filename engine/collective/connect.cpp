// The meeting of the ranks: the store that all reach, the roll call, Gloo's connections.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <c10/util/Logging.h>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "engine/collective/c10d_collective.h"
#include "engine/core/address.h"
#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using StorePtr = c10::intrusive_ptr<c10d::Store>;

// How long one try takes before a stop request is looked at again.
constexpr milliseconds kTry{500};

struct Endpoint {
  std::string text;  // numeric
  bool loopback = false;
  sockaddr_storage raw{};
  socklen_t length = 0;
};

// IPv4 where there is a choice, so that all ranks choose alike.
Result<Endpoint> resolve(const Launch& launch) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(launch.master_port);
  const int error = ::getaddrinfo(launch.master_addr.c_str(), port.c_str(), &hints, &found);
  if (error != 0) {
    return invalid_argument("MASTER_ADDR " + in_quotes(launch.master_addr) +
                            " is no address: " + ::gai_strerror(error));
  }
  const addrinfo* chosen = found;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    if (a->ai_family != AF_INET) continue;
    chosen = a;
    break;
  }
  Endpoint out;
  out.length = chosen->ai_addrlen;
  std::memcpy(&out.raw, chosen->ai_addr, chosen->ai_addrlen);
  char text[INET6_ADDRSTRLEN] = {};
  if (chosen->ai_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&out.raw);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
  } else {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&out.raw);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
  }
  ::freeaddrinfo(found);
  out.text = text;
  out.loopback = is_loopback(out.text);
  return out;
}

// A socket that listens on that address alone; left to itself the store would listen on all of them.
Result<int> listen_on(const Endpoint& address, const Launch& launch) {
  const int descriptor = ::socket(address.raw.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  if (descriptor >= 0) ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (descriptor >= 0 &&
      ::bind(descriptor, reinterpret_cast<const sockaddr*>(&address.raw), address.length) == 0 &&
      ::listen(descriptor, SOMAXCONN) == 0)
    return descriptor;
  const std::string why = std::strerror(errno);
  if (descriptor >= 0) ::close(descriptor);
  return failed_precondition("rank 0 cannot listen at MASTER_ADDR " + in_quotes(launch.master_addr) +
                             ", MASTER_PORT " + std::to_string(launch.master_port) + ": " + why);
}

c10d::TCPStoreOptions store_options(const Launch& launch, milliseconds timeout) {
  c10d::TCPStoreOptions out;
  out.port = static_cast<uint16_t>(launch.master_port);
  out.waitWorkers = false;
  out.timeout = timeout;
  return out;
}

// Each try is short, so that a stop request is seen.
Result<StorePtr> reach_store(const Launch& launch, const Endpoint& address, Clock::time_point end,
                             const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    try {
      return StorePtr(c10::make_intrusive<c10d::TCPStore>(address.text, store_options(launch, kTry)));
    } catch (const std::exception&) {
      if (Clock::now() < end) continue;
      return deadline_exceeded(std::string(launch.launcher_store ? "the launcher's store" : "rank 0") +
                               " does not answer at MASTER_ADDR " + in_quotes(launch.master_addr) +
                               ", MASTER_PORT " + std::to_string(launch.master_port) +
                               " within --ddp-timeout");
    }
  }
  return cancelled("stopped by a signal");
}

Result<StorePtr> open_store(const Launch& launch, const Endpoint& address, milliseconds deadline,
                            const std::stop_token& stop) {
  const bool keeper = launch.rank == 0 && !launch.launcher_store;
  StorePtr store;
  if (keeper) {
    TRY(descriptor, listen_on(address, launch));
    c10d::TCPStoreOptions options = store_options(launch, deadline);
    options.isServer = true;
    options.masterListenFd = descriptor;
    store = c10::make_intrusive<c10d::TCPStore>(address.text, options);
  } else {
    TRY(reached, reach_store(launch, address, Clock::now() + deadline, stop));
    store = std::move(reached);
  }
  store->setTimeout(deadline);
  if (launch.launcher_store)
    return StorePtr(
        c10::make_intrusive<c10d::PrefixStore>("fulcrum" + std::to_string(launch.restarts), store));
  return store;
}

std::string here_key(int64_t rank) { return "fulcrum/here/" + std::to_string(rank); }

// Waits until every rank has said that it is here, and with which build.
Status call_the_roll(c10d::Store& store, const Launch& launch, milliseconds deadline,
                     const std::stop_token& stop) {
  const std::string build = FULCRUM_VERSION;
  store.set(here_key(launch.rank), std::vector<uint8_t>(build.begin(), build.end()));
  const Clock::time_point end = Clock::now() + deadline;
  std::vector<std::string> missing;
  for (int64_t r = 0; r < launch.size; ++r) {
    while (!store.check({here_key(r)})) {
      if (stop.stop_requested()) return cancelled("stopped by a signal");
      if (Clock::now() >= end) {
        missing.push_back(std::to_string(r));
        break;
      }
      try {
        store.wait({here_key(r)}, kTry);
      } catch (const std::exception&) {
        // Not yet.
      }
    }
  }
  if (!missing.empty()) {
    return deadline_exceeded((missing.size() == 1 ? "rank " : "ranks ") + join(missing, ", ") + " of " +
                             std::to_string(launch.size) + " did not come within --ddp-timeout");
  }
  for (int64_t r = 0; r < launch.size; ++r) {
    const std::vector<uint8_t> bytes = store.get(here_key(r));
    const std::string other(bytes.begin(), bytes.end());
    if (other != build) {
      return failed_precondition("rank " + std::to_string(r) + " runs Fulcrum " + in_quotes(other) +
                                 ", rank " + std::to_string(launch.rank) + " " + in_quotes(build) +
                                 ": all ranks must run the same build");
    }
  }
  return ok_status();
}

std::shared_ptr<gloo::transport::Device> choose_device(const Endpoint& master) {
  using Gloo = c10d::ProcessGroupGloo;
  if (master.loopback) return Gloo::createDeviceForHostname(master.text);
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr && *interface != 0) return Gloo::createDeviceForInterface(interface);
  return Gloo::createDefaultDevice();
}

Result<std::shared_ptr<Collective>> meet(const Launch& launch, milliseconds deadline,
                                         const std::stop_token& stop) {
  TRY(address, resolve(launch));
  TRY(store, open_store(launch, address, deadline, stop));
  TRY_DO(call_the_roll(*store, launch, deadline, stop));
  if (launch.rank == 0 && !address.loopback) {
    log_warn("the ranks speak with each other without TLS and without a token, at " +
             in_quotes(launch.master_addr) + ": only in a network that you trust");
  }
  auto options = c10d::ProcessGroupGloo::Options::create(deadline);
  options->devices.push_back(choose_device(address));
  auto backend = c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(launch.rank),
                                                             static_cast<int>(launch.size), options);
  return std::shared_ptr<Collective>(
      std::make_shared<C10dCollective>(std::move(backend), GroupStore{.store = store,
                                                                      .launcher = launch.launcher_store,
                                                                      .rank = launch.rank,
                                                                      .size = launch.size,
                                                                      .deadline = deadline}));
}

}  // namespace

Result<std::shared_ptr<Collective>> connect(const Launch& launch, milliseconds deadline,
                                            const std::stop_token& stop) {
  FLAGS_caffe2_log_level = 3;  // what c10d has to say comes back as a Status
  try {
    return meet(launch, deadline, stop);
  } catch (const c10::Error& e) {
    return unavailable("the ranks cannot connect: " + printable(e.what_without_backtrace()));
  } catch (const std::exception& e) {
    return unavailable("the ranks cannot connect: " + printable(e.what()));
  }
}

}  // namespace fulcrum
