#include "engine/rpc/auth.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "engine/core/hash.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr size_t kMinTokenBytes = 32;
constexpr uint64_t kMaxTokenFileBytes = 1 << 20;
constexpr std::string_view kScheme = "Bearer ";

constexpr uint32_t kReaders = kRoleViewer | kRoleOperator;
constexpr uint32_t kMachines = kRoleWorker;
constexpr uint32_t kAll = kRoleViewer | kRoleWorker | kRoleOperator;

constexpr Permission kPermissions[] = {
    {"/fulcrum.v1.JobService/Submit", kRoleOperator},
    {"/fulcrum.v1.JobService/Get", kReaders},
    {"/fulcrum.v1.JobService/List", kReaders},
    {"/fulcrum.v1.JobService/Watch", kReaders},
    {"/fulcrum.v1.JobService/Pause", kRoleOperator},
    {"/fulcrum.v1.JobService/Resume", kRoleOperator},
    {"/fulcrum.v1.JobService/Cancel", kRoleOperator},
    {"/fulcrum.v1.JobService/Delete", kRoleOperator},
    {"/fulcrum.v1.JobService/ListCheckpoints", kReaders},
    {"/fulcrum.v1.WorkerService/Work", kMachines},
    {"/fulcrum.v1.WeightService/GetManifest", kMachines},
    {"/fulcrum.v1.WeightService/Fetch", kMachines},
    {"/fulcrum.v1.RewardService/Score", kMachines | kRoleOperator},
    {"/fulcrum.v1.MonitorService/ListWorkers", kReaders},
    {"/fulcrum.v1.MonitorService/GetMetrics", kReaders},
    {"/fulcrum.v1.MonitorService/Stats", kReaders},
    {"/fulcrum.v1.MonitorService/TailLog", kReaders},
    {"/grpc.health.v1.Health/Check", kRoleNone},
    {"/grpc.health.v1.Health/Watch", kRoleNone},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kAll},
};

std::optional<uint32_t> parse_role(std::string_view name) {
  if (name == "viewer") return kRoleViewer;
  if (name == "worker") return kRoleWorker;
  if (name == "operator") return kRoleOperator;
  return std::nullopt;
}

struct Line {
  size_t number;
  std::string_view first, second;  // second: empty if there is one word
};

// The lines that hold something, split at the first space.
std::vector<Line> meaningful_lines(std::string_view text) {
  std::vector<Line> lines;
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, std::min(end, text.substr(0, end).find('#'))));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.empty()) continue;
    const size_t space = line.find_first_of(" \t");
    if (space == std::string_view::npos) {
      lines.push_back({number, line, {}});
    } else {
      lines.push_back({number, line.substr(0, space), trim(line.substr(space))});
    }
  }
  return lines;
}

Result<std::string> read_secret(const Path& path) {
  TRY(text, read_file(path, kMaxTokenFileBytes));
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return from_errno(errno, "cannot look at", path);
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return Status(Code::kPermissionDenied,
                  "token file " + in_quotes(path.string()) + " can be read by others: chmod 600 it");
  }
  return text;
}

}  // namespace

std::span<const Permission> permission_table() { return kPermissions; }

Gate Gate::open_to_all() {
  Gate gate;
  gate.open_ = true;
  return gate;
}

Result<Gate> Gate::from_file(const Path& path) {
  TRY(text, read_secret(path));
  Gate gate;
  for (const Line& line : meaningful_lines(text)) {
    const std::string where =
        "token file " + in_quotes(path.string()) + " line " + std::to_string(line.number);
    const std::optional<uint32_t> role = parse_role(line.first);
    if (!role || line.second.empty())
      return invalid_argument(where + ": write \"viewer|worker|operator TOKEN\"");
    if (line.second.size() < kMinTokenBytes) {
      return invalid_argument(where + ": the token is shorter than " + std::to_string(kMinTokenBytes) +
                              " characters; make one with: openssl rand -hex 32");
    }
    gate.credentials_.push_back({sha256_hex(line.second), *role});
  }
  if (gate.credentials_.empty())
    return invalid_argument("token file " + in_quotes(path.string()) + " holds no token");
  return gate;
}

// Digests of equal length are compared to the end, all of them, so that time tells nothing about a token.
uint32_t Gate::roles_of(std::string_view authorization) const {
  if (!starts_with_icase(authorization, kScheme)) return kRoleNone;
  const std::string digest = sha256_hex(authorization.substr(kScheme.size()));
  uint32_t roles = kRoleNone;
  for (const Credential& credential : credentials_) {
    const bool same = CRYPTO_memcmp(credential.sha256.data(), digest.data(), digest.size()) == 0;
    roles |= credential.role & (same ? ~0u : 0u);
  }
  return roles;
}

Status Gate::check(std::string_view method, std::string_view authorization) const {
  const auto row = std::find_if(std::begin(kPermissions), std::end(kPermissions),
                                [&](const Permission& p) { return p.method == method; });
  if (row == std::end(kPermissions)) {
    return {Code::kPermissionDenied, "no rule lets anybody call " + in_quotes(method)};
  }
  if (open_ || row->roles == kRoleNone) return ok_status();
  const uint32_t roles = roles_of(authorization);
  if (roles == kRoleNone) {
    return {Code::kUnauthenticated, authorization.empty() ? "this server wants a token: name a token file"
                                                          : "the token is not one this server knows"};
  }
  if ((roles & row->roles) == 0)
    return {Code::kPermissionDenied, "this token may not call " + in_quotes(method)};
  return ok_status();
}

Result<std::string> read_token(const Path& path) {
  TRY(text, read_secret(path));
  const std::vector<Line> lines = meaningful_lines(text);
  if (lines.empty()) return invalid_argument("token file " + in_quotes(path.string()) + " holds no token");
  return std::string(lines[0].second.empty() ? lines[0].first : lines[0].second);
}

}  // namespace fulcrum
