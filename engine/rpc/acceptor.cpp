#include "engine/rpc/acceptor.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr int kBacklog = 128;

// As many descriptors as the system gives.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) log_warn("rpc: the limit on open files could not be raised");
}

// The first descriptor that a connection may not have: the rest is for files and for gRPC itself. Descriptors
// are given lowest first, so a number counts those that are open.
int first_refused() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 1'000'000) return 1'000'000;
  const int most = static_cast<int>(limit.rlim_cur);
  return most - std::min(256, most / 4);
}

int port_of(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                           : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
}

void set_port(sockaddr* address, int port) {
  (address->sa_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(address)->sin6_port
                                  : reinterpret_cast<sockaddr_in*>(address)->sin_port) =
      htons(static_cast<uint16_t>(port));
}

// A listening socket, or -1 with errno.
int listening(const addrinfo& at, int port) {
  const int fd = ::socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (port != 0) set_port(at.ai_addr, port);
  if (::bind(fd, at.ai_addr, at.ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0) return fd;
  const int reason = errno;
  ::close(fd);
  errno = reason;
  return -1;
}

Status why_not(const Address& address, int reason) {
  if (reason == EADDRINUSE) {
    return failed_precondition("port " + std::to_string(address.port) + " of " + in_quotes(address.host) +
                               " is in use: stop the other process or listen on another port");
  }
  return unavailable("cannot listen on " + in_quotes(address.host) + " port " + std::to_string(address.port) +
                     ": " + std::strerror(reason));
}

}  // namespace

Result<std::unique_ptr<Acceptor>> Acceptor::listen(const Address& address) {
  raise_descriptor_limit();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error =
          ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
      error != 0) {
    return invalid_argument("cannot listen on " + in_quotes(address.host) + ": " + ::gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  std::unique_ptr<Acceptor> out(new Acceptor());
  int reason = 0;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    const int fd = listening(*at, out->port_);
    if (fd < 0 && errno == EADDRINUSE) return why_not(address, errno);
    if (fd < 0) {
      reason = errno;  // a family that this machine does not have
      continue;
    }
    out->listeners_.push_back(fd);
    if (out->port_ == 0) out->port_ = port_of(fd);
  }
  if (out->listeners_.empty()) return why_not(address, reason);
  out->wake_ = ::eventfd(0, EFD_CLOEXEC);
  if (out->wake_ < 0) return why_not(address, errno);
  return out;
}

Acceptor::~Acceptor() {
  stop();
  if (wake_ >= 0) ::close(wake_);
}

void Acceptor::serve(std::unique_ptr<Server> server) {
  server_ = std::move(server);
  thread_ = std::thread([this] { run(); });
}

void Acceptor::stop() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    static_cast<void>(!::write(wake_, &one, sizeof one));
    thread_.join();
  }
  for (const int fd : std::exchange(listeners_, {})) ::close(fd);
}

void Acceptor::run() {
  std::vector<pollfd> watched{{wake_, POLLIN, 0}};
  for (const int fd : listeners_) watched.push_back({fd, POLLIN, 0});
  for (;;) {
    if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return;
    if (watched[0].revents != 0) return;
    for (size_t i = 1; i < watched.size(); ++i) {
      if (watched[i].revents != 0) take(watched[i].fd);
    }
  }
}

void Acceptor::take(int listener) {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {  // files have taken all; the connection waits
    pollfd wake{wake_, POLLIN, 0};
    ::poll(&wake, 1, 100);
  }
  if (fd < 0) return;
  const bool full = fd >= first_refused();
  if (full && !full_) log_warn("rpc: too many open connections; new ones are refused until some close");
  full_ = full;
  if (full) {
    ::close(fd);
    return;
  }
  const int yes = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  Server::NewConnectionParameters connection;
  connection.listener_fd = listener;
  connection.fd = fd;
  server_->HandleNewConnection(&connection);
}

}  // namespace fulcrum
