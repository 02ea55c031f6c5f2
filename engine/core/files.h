// Files with errors as values. Every error names the path and says what the system said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/core/status.h"

namespace fulcrum {

using Path = std::filesystem::path;

// The whole file. Errors: kNotFound, kInvalidArgument (not a regular file, larger than max_bytes),
// kUnavailable.
Result<std::string> read_file(const Path& path, uint64_t max_bytes = uint64_t{1} << 31);

// ok, or kInvalidArgument for a folder, a pipe, a device; kNotFound. For those that open by other means than
// read_file(): who opens a pipe waits for its other end.
enum class Links { kFollowed, kRefused };
Status require_regular_file(const Path& path, Links links = Links::kFollowed);

// Writes beside the target, fsyncs, renames, fsyncs the folder: a reader sees the old file or the new one,
// whole. Errors: kResourceExhausted (disk full, quota), kPermissionDenied, kNotFound (no such folder),
// kUnavailable.
Status write_file_atomic(const Path& path, std::string_view bytes);
// The same for a file made of pieces (weights), which are never copied together.
Status write_file_atomic(const Path& path, std::span<const std::string_view> pieces);

// Appends and (if `durable`) fsyncs. A short write is an error.
Status append_file(const Path& path, std::string_view bytes, bool durable = false);

Status make_folders(const Path& path);
Status sync_folder(const Path& path);
// Renames and makes the rename durable.
Status rename_durable(const Path& from, const Path& to);

// The Status for an errno value: kResourceExhausted for a full disk, kNotFound, kPermissionDenied, else
// kUnavailable.
Status from_errno(int error, std::string_view what, const Path& path);

// A read-only mapping; lives as long as the last holder. A file cut while it is mapped raises SIGBUS on
// access, so map only files this process owns or has verified the size of.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const Path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const Path& path() const { return path_; }

 private:
  MappedFile(Path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  Path path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace fulcrum
