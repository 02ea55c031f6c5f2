// Which files a tokenizer came from: reads them, remembers them, hashes them. Used while a tokenizer is
// loaded. Not thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/hash.h"

namespace fulcrum {

// What every tokenizer keeps of its origin.
struct TokenizerSource {
  std::string content_hash;
  std::vector<Path> files;
};

class SourceFiles {
 public:
  // The whole file. It counts for the hash and is copied beside exported weights.
  Result<std::string> read(const Path& path);
  // What someone else has read: counts for the hash only.
  void add_bytes(std::string_view bytes);
  // A choice that changes the ids but stands in no such file.
  void add_choice(std::string_view choice);
  // A file that goes along with exported weights but is not hashed here.
  void add_companion(const Path& path);
  // The files of that kind that Hugging Face folders have.
  void add_companions(const Path& folder);

  // Spends the object.
  TokenizerSource finish();

 private:
  Sha256 hash_;
  std::vector<Path> files_;
};

}  // namespace fulcrum
