#include "engine/core/address.h"

#include <charconv>

#include "engine/core/text.h"

namespace fulcrum {

Result<Address> parse_address(const std::string& text) {
  const Status bad = invalid_argument("address " + in_quotes(text) + " is not HOST:PORT");
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return bad;
  Address address{text.substr(0, colon), 0};
  if (address.host.front() == '[' && address.host.back() == ']') {
    address.host = address.host.substr(1, address.host.size() - 2);
  } else if (address.host.find(':') != std::string::npos) {
    return bad;  // a bare IPv6 address: which colon ends it?
  }
  const char* begin = text.data() + colon + 1;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(begin, end, address.port);
  if (error != std::errc() || rest != end || begin == end || address.port < 0 || address.port > 65535)
    return bad;
  return address;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost" || host == "::1") return true;
  const std::vector<std::string> bytes = split(host, '.');
  if (bytes.size() != 4 || bytes[0] != "127") return false;
  for (const std::string& byte : bytes) {
    if (byte.empty() || byte.size() > 3 || byte.find_first_not_of("0123456789") != std::string::npos)
      return false;
  }
  return true;
}

}  // namespace fulcrum
