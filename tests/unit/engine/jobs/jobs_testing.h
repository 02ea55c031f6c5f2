// Shared by the tests of engine/jobs: values out of Results, children that are killed, a disk that is full.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>

#include "engine/core/files.h"
#include "engine/core/status.h"

namespace fulcrum::testing {

inline void expect_ok(const Status& status) { EXPECT_TRUE(status.ok()) << status.message(); }

// The value, or a test failure and a default value.
template <class T>
T value_of(Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.status().message();
  if constexpr (std::is_default_constructible_v<T>) {
    return result.ok() ? std::move(result).value() : T{};
  } else {
    return std::move(result).value();
  }
}

inline std::string bytes_of(const Path& file) { return value_of(read_file(file)); }

// Runs `body` in a child process. A child reports by its exit code, not by gtest.
class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(::fork()) {
    if (pid_ == 0) ::_exit(body());
  }
  void kill() const { ::kill(pid_, SIGKILL); }
  // The exit code, or minus the signal that ended it.
  int wait() const {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_;
};

constexpr int kCannotMount = 77;

// In a child with mounts of its own: a disk of `bytes` at `folder`. Whether that is allowed here.
inline bool mount_small_disk(const Path& folder, const std::string& bytes) {
  if (::unshare(CLONE_NEWNS) != 0) return false;
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  return ::mount("tmpfs", folder.c_str(), "tmpfs", 0, ("size=" + bytes).c_str()) == 0;
}

}  // namespace fulcrum::testing
