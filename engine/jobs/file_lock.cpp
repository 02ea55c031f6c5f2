#include "engine/jobs/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {

Result<FileLock> FileLock::take(const Path& file) {
  FileLock lock(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (lock.fd_ < 0) return from_errno(errno, "cannot open", file);
  if (::flock(lock.fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return from_errno(errno, "cannot lock", file);
    const Result<std::string> pid = read_file(file, 64);
    const std::string holder =
        pid.ok() && !pid->empty() ? "process " + printable(trim(*pid)) : "another process";
    return failed_precondition(in_quotes(file.parent_path().string()) + " is in use by " + holder +
                               "; stop it first, or choose another folder");
  }
  // The pid is only for the message above: not being able to write it (a full disk) is no reason not to
  // start.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.fd_, 0) == 0) (void)!::pwrite(lock.fd_, pid.data(), pid.size(), 0);
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}
FileLock::FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

}  // namespace fulcrum
