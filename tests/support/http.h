// The little of HTTP that tests of /metrics need: one request on a connection of its own, the answer as it
// came.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "engine/core/address.h"

namespace fulcrum::testing {

inline int connect_to_port(const std::string& address) {
  const auto parsed = parse_address(address);
  EXPECT_TRUE(parsed.ok()) << address;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(parsed->port));
  ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << address;
  return fd;
}

// What a server on this machine answers, head and body, until it closes.
inline std::string http(const std::string& address, const std::string& request) {
  const int fd = connect_to_port(address);
  (void)::send(fd, request.data(), request.size(), MSG_NOSIGNAL);  // it may close before it has read all
  std::string answer(1 << 16, '\0');
  size_t size = 0;
  for (ssize_t got = 1; got > 0 && size < answer.size();) {
    got = ::recv(fd, answer.data() + size, answer.size() - size, 0);
    if (got > 0) size += static_cast<size_t>(got);
  }
  ::close(fd);
  answer.resize(size);
  return answer;
}

inline std::string http_get(const std::string& address, const std::string& path) {
  return http(address, "GET " + path + " HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
}

}  // namespace fulcrum::testing
