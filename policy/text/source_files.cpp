#include "policy/text/source_files.h"

#include <algorithm>
#include <utility>

namespace fulcrum {
namespace {
constexpr uint64_t kMaxBytes = uint64_t{256} << 20;  // the largest published tokenizer files have some 30 MB
}

Result<std::string> SourceFiles::read(const Path& path) {
  TRY(bytes, read_file(path, kMaxBytes));
  add_bytes(bytes);
  add_companion(path);
  return bytes;
}

void SourceFiles::add_bytes(std::string_view bytes) {
  hash_.update(std::to_string(bytes.size()) + ":");  // so that no two lists of files run together
  hash_.update(bytes);
}

void SourceFiles::add_choice(std::string_view choice) {
  hash_.update("choice " + std::to_string(choice.size()) + ":");
  hash_.update(choice);
}

void SourceFiles::add_companion(const Path& path) {
  if (std::find(files_.begin(), files_.end(), path) == files_.end()) files_.push_back(path);
}

void SourceFiles::add_companions(const Path& folder) {
  for (const char* name : {"tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja"}) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(folder / name, ignored)) add_companion(folder / name);
  }
}

TokenizerSource SourceFiles::finish() { return {hash_.hex(), std::move(files_)}; }

}  // namespace fulcrum
