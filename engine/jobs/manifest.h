// MANIFEST.json, the last file of a checkpoint: what the others are, byte for byte. A checkpoint is whole
// exactly if its manifest is and every file matches it. Called by CheckpointStore. Values; functions are
// thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum {

inline constexpr std::string_view kManifestName = "MANIFEST.json";

struct FileFacts {
  uint64_t size = 0;
  std::string sha256;
};

struct Manifest {
  int64_t step = 0;
  std::string build;       // of the program that wrote it
  int64_t created_at = 0;  // Unix seconds
  Json facts;              // what the writer wants to find again: metrics, threads, config fingerprint
  std::map<std::string, FileFacts> files;  // by path relative to the folder, '/' between parts
  uint64_t bytes() const;
};

// Hashes and fsyncs every file under the folder and fsyncs its subfolders. kInvalidArgument for anything that
// is neither a file nor a folder.
Result<std::map<std::string, FileFacts>> seal_files(const Path& folder);

Status write_manifest(const Path& folder, const Manifest& manifest);

// kDataLoss for a manifest that is missing, damaged or of another step, in words.
Result<Manifest> read_manifest(const Path& folder, int64_t step);

// kDataLoss naming the first file that is missing or differs.
Status verify_files(const Path& folder, const Manifest& manifest);

}  // namespace fulcrum
