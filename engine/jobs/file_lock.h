// One process at a time in a folder: an flock on a file that names its holder. The kernel drops it with the
// process, however that ends. Called by JobStore and RunFolder. A value that moves; not thread-safe.
#pragma once

#include "engine/core/files.h"
#include "engine/core/status.h"

namespace fulcrum {

class FileLock {
 public:
  // kFailedPrecondition if it is taken, naming the holder's pid.
  static Result<FileLock> take(const Path& file);

  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace fulcrum
