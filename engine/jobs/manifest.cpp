#include "engine/jobs/manifest.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "engine/core/hash.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 24;

Status sync_file(const Path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return from_errno(errno, "cannot open", file);
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  return error == 0 ? ok_status() : from_errno(error, "cannot sync", file);
}

Result<FileFacts> file_facts(const Path& file) {
  TRY(mapped, MappedFile::open(file));
  Sha256 hash;
  hash.update(mapped->bytes());
  return FileFacts{mapped->bytes().size(), hash.hex()};
}

Json body_json(const Manifest& m) {
  Json files = Json::object();
  for (const auto& [name, file] : m.files) files[name] = Json{{"size", file.size}, {"sha256", file.sha256}};
  return Json{{"step", m.step},
              {"build", m.build},
              {"created_at", m.created_at},
              {"facts", m.facts},
              {"files", files}};
}

// The manifest vouches for the files, and its own hash vouches for it: the text is reproduced from what was
// read and must be the same, so that no flipped bit goes unseen.
std::string manifest_text(const Manifest& m) {
  Json json = body_json(m);
  json["sha256"] = sha256_hex(dump_json(json));
  return dump_json(json, 2) + "\n";
}

// A manifest must not point outside its folder.
bool is_inside(std::string_view name) {
  const Path path(name);
  if (path.empty() || path.is_absolute() || name.find('\0') != std::string_view::npos) return false;
  for (const Path& part : path) {
    if (part == ".." || part == ".") return false;
  }
  return true;
}

Result<Manifest> parse_manifest(const std::string& text) {
  TRY(json, parse_json(text));
  Manifest m;
  TRY(step, get_int(json, "step"));
  TRY(build, get_string(json, "build"));
  TRY(created_at, get_int(json, "created_at"));
  m.step = step;
  m.build = build;
  m.created_at = created_at;
  if (const auto facts = json.find("facts"); facts != json.end()) m.facts = *facts;
  const auto files = json.find("files");
  if (files == json.end() || !files->is_object()) return invalid_argument("'files' is missing");
  for (const auto& item : files->items()) {
    TRY(size, get_int(item.value(), "size"));
    TRY(sha256, get_string(item.value(), "sha256"));
    if (size < 0 || !is_inside(item.key())) return invalid_argument("bad entry " + in_quotes(item.key()));
    m.files[item.key()] = {static_cast<uint64_t>(size), sha256};
  }
  if (text != manifest_text(m)) return invalid_argument("its own hash does not match");
  return m;
}

}  // namespace

uint64_t Manifest::bytes() const {
  uint64_t sum = 0;
  for (const auto& [name, file] : files) sum += file.size;
  return sum;
}

Result<std::map<std::string, FileFacts>> seal_files(const Path& folder) {
  std::map<std::string, FileFacts> files;
  std::vector<Path> subfolders;
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(folder, error); !error && it != fs::end(it);
       it.increment(error)) {
    const Path& path = it->path();
    const fs::file_status kind = it->symlink_status(error);
    if (error) break;
    if (fs::is_directory(kind)) {
      subfolders.push_back(path);
      continue;
    }
    TRY_DO(require_regular_file(path, Links::kRefused));
    TRY_DO(sync_file(path));
    TRY(facts, file_facts(path));
    files[path.lexically_relative(folder).generic_string()] = facts;
  }
  if (error) return from_errno(error.value(), "cannot read folder", folder);
  for (const Path& subfolder : subfolders) TRY_DO(sync_folder(subfolder));
  return files;
}

Status write_manifest(const Path& folder, const Manifest& manifest) {
  return write_file_atomic(folder / kManifestName, manifest_text(manifest));
}

Result<Manifest> read_manifest(const Path& folder, int64_t step) {
  const Path path = folder / kManifestName;
  const Result<std::string> text = read_file(path, kMaxManifestBytes);
  if (!text.ok()) return data_loss(text.status().message());
  Result<Manifest> manifest = parse_manifest(*text);
  if (!manifest.ok())
    return data_loss(in_quotes(path.string()) + " is damaged: " + manifest.status().message());
  if (manifest->step != step) {
    return data_loss(in_quotes(path.string()) + " is of step " + std::to_string(manifest->step) + ", not " +
                     std::to_string(step));
  }
  return manifest;
}

Status verify_files(const Path& folder, const Manifest& manifest) {
  for (const auto& [name, expected] : manifest.files) {
    const Result<FileFacts> found = file_facts(folder / name);
    if (!found.ok()) return data_loss(found.status().message());
    const std::string quoted = in_quotes((folder / name).string());
    if (found->size != expected.size) {
      return data_loss(quoted + " has " + std::to_string(found->size) + " bytes; its manifest says " +
                       std::to_string(expected.size));
    }
    if (found->sha256 != expected.sha256)
      return data_loss(quoted + " does not match the hash in its manifest");
  }
  return ok_status();
}

}  // namespace fulcrum
