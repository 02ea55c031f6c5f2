#include "engine/core/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/core/text.h"

namespace fulcrum {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

Status require_regular(const struct stat& st, const Path& path) {
  if (S_ISREG(st.st_mode)) return ok_status();
  return invalid_argument(in_quotes(path.string()) + " is not a regular file");
}

Result<uint64_t> regular_size(int fd, const Path& path) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return from_errno(errno, "cannot read", path);
  TRY_DO(require_regular(st, path));
  return static_cast<uint64_t>(st.st_size);
}

Status write_all(int fd, std::string_view bytes, const Path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return from_errno(errno, "cannot write", path);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return ok_status();
}

}  // namespace

Status from_errno(int error, std::string_view what, const Path& path) {
  const std::string message =
      std::string(what) + " " + in_quotes(path.string()) + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return not_found(message);
    case ENOSPC:
    case EFBIG:  // ulimit -f, or more than the file system takes
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return resource_exhausted(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return {Code::kPermissionDenied, message};
    case EEXIST:
      return already_exists(message);
    case EISDIR:
      return invalid_argument(message);
    default:
      return unavailable(message);
  }
}

Result<std::string> read_file(const Path& path, uint64_t max_bytes) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return from_errno(errno, "cannot open", path);
  TRY(size, regular_size(fd.get(), path));
  if (size > max_bytes) {
    return invalid_argument(in_quotes(path.string()) + " has " + std::to_string(size) +
                            " bytes; the limit is " + std::to_string(max_bytes));
  }
  std::string out(size, '\0');
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::read(fd.get(), out.data() + done, out.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return from_errno(errno, "cannot read", path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  out.resize(done);
  return out;
}

Status require_regular_file(const Path& path, Links links) {
  struct stat st {};
  const auto look = links == Links::kFollowed ? ::stat : ::lstat;
  if (look(path.c_str(), &st) != 0) return from_errno(errno, "cannot open", path);
  return require_regular(st, path);
}

Status write_file_atomic(const Path& path, std::string_view bytes) {
  return write_file_atomic(path, {&bytes, 1});
}

Status write_file_atomic(const Path& path, std::span<const std::string_view> pieces) {
  const Path folder = path.has_parent_path() ? path.parent_path() : Path(".");
  std::string temporary = (folder / ("." + path.filename().string() + ".XXXXXX")).string();
  const Descriptor fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return from_errno(errno, "cannot create a file in", folder);
  Status status;
  for (size_t i = 0; i < pieces.size() && status.ok(); ++i) status = write_all(fd.get(), pieces[i], path);
  if (status.ok() && ::fchmod(fd.get(), 0644) != 0) status = from_errno(errno, "cannot write", path);
  if (status.ok() && ::fsync(fd.get()) != 0) status = from_errno(errno, "cannot sync", path);
  if (status.ok()) status = rename_durable(temporary, path);
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

Status append_file(const Path& path, std::string_view bytes, bool durable) {
  const Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd.valid()) return from_errno(errno, "cannot open", path);
  TRY_DO(write_all(fd.get(), bytes, path));
  if (durable && ::fsync(fd.get()) != 0) return from_errno(errno, "cannot sync", path);
  return ok_status();
}

Status make_folders(const Path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return from_errno(error.value(), "cannot create folder", path);
  if (!std::filesystem::is_directory(path, error))
    return invalid_argument(in_quotes(path.string()) + " is not a folder");
  return ok_status();
}

Status sync_folder(const Path& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return from_errno(errno, "cannot open folder", path);
  if (::fsync(fd.get()) != 0) return from_errno(errno, "cannot sync folder", path);
  return ok_status();
}

Status rename_durable(const Path& from, const Path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return from_errno(errno, "cannot rename to", to);
  return sync_folder(to.has_parent_path() ? to.parent_path() : Path("."));
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const Path& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return from_errno(errno, "cannot open", path);
  TRY(size, regular_size(fd.get(), path));
  if (size == 0) return std::shared_ptr<const MappedFile>(new MappedFile(path, nullptr, 0));
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) return from_errno(errno, "cannot map", path);
  return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace fulcrum
