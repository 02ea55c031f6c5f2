// Starts the real programs from a test: output into files, waits with a limit, signals by pid. One thread.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/test_data.h"

namespace fulcrum::testing {

inline std::filesystem::path program(const std::string& name) { return build_folder() / "bin" / name; }

inline std::string slurp(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class Process {
 public:
  // stdout and stderr go to <log>.out and <log>.err; stdin is empty.
  Process(const std::vector<std::string>& command, std::filesystem::path log) : log_(std::move(log)) {
    std::vector<char*> argv;
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const std::string out = log_.string() + ".out", err = log_.string() + ".err";
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(STDIN_FILENO);
      ::open("/dev/null", O_RDONLY);
      ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
      ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Process() {
    if (!finished_) {
      ::kill(pid_, SIGKILL);
      wait(std::chrono::seconds(10));
    }
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

  // The exit code (128 + signal if killed), or -1 if it still runs after `limit`.
  int wait(std::chrono::milliseconds limit) {
    if (finished_) return code_;
    const int descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    pollfd waiting{descriptor, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(limit.count()));
    ::close(descriptor);
    if (ready <= 0) return -1;
    int status = 0;
    rusage usage{};
    ::wait4(pid_, &status, 0, &usage);
    peak_kib_ = usage.ru_maxrss;
    finished_ = true;
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return code_;
  }
  // The most memory it had, once it has ended.
  int64_t peak_kib() const { return peak_kib_; }
  bool running() { return wait(std::chrono::milliseconds(0)) == -1; }

  std::string out() const { return slurp(log_.string() + ".out"); }
  std::string err() const { return slurp(log_.string() + ".err"); }

 private:
  std::filesystem::path log_;
  pid_t pid_ = -1;
  bool finished_ = false;
  int code_ = -1;
  int64_t peak_kib_ = 0;
};

struct Finished {
  int code;
  std::string out, err;
  int64_t peak_kib = 0;  // the most memory it had
};

inline Finished run(const std::vector<std::string>& command, const std::filesystem::path& log,
                    std::chrono::seconds limit = std::chrono::seconds(120)) {
  Process p(command, log);
  const int code = p.wait(limit);
  return {code, p.out(), p.err(), p.peak_kib()};
}

// Asks again every 20 ms until it is true or the limit has passed: for what other processes do, which no fake
// clock moves.
inline bool eventually(const std::function<bool()>& condition,
                       std::chrono::seconds limit = std::chrono::seconds(60)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::poll(nullptr, 0, 20);
  }
  return true;
}

}  // namespace fulcrum::testing
