#include "tests/fuzz/fuzz.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "engine/core/text.h"

namespace fulcrum::fuzz {
namespace {

constexpr size_t kLongestMessage = 1 << 14;

}  // namespace

void broken_law(const char* file, int line, const std::string& what) {
  throw BrokenLaw(std::string(file) + ":" + std::to_string(line) + ": does not hold: " + what);
}

void check_error(const Status& status) {
  const std::string& message = status.message();
  LAW(status.code() != Code::kOk);
  LAW(!message.empty());
  LAW(message.size() <= kLongestMessage);
  if (printable(message, kLongestMessage) != message) {
    broken_law(__FILE__, __LINE__, "an error is one printable line; this one is " + printable(message));
  }
}

std::vector<std::string_view> split_parts(std::string_view input, size_t count) {
  constexpr std::string_view kSeparator = "\n%%\n";
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < count) {
    const size_t end = input.find(kSeparator);
    parts.push_back(input.substr(0, end));
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + kSeparator.size());
  }
  parts.push_back(input);
  return parts;
}

Scratch::Scratch() {
  const std::filesystem::path memory = "/dev/shm";  // fsync costs nothing there
  const auto root = std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path();
  std::string pattern = (root / "fulcrum-fuzz-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr)
    throw std::runtime_error("cannot make a folder in " + root.string());
  folder_ = pattern;
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::filesystem::path Scratch::path(std::string_view name) const {
  return name.empty() ? folder_ : folder_ / name;
}

void Scratch::put(std::string_view name, std::string_view bytes) const {
  std::filesystem::create_directories(path(name).parent_path());
  std::ofstream(path(name), std::ios::binary) << bytes;
}

std::string Scratch::get(std::string_view name) const {
  std::ifstream in(path(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace fulcrum::fuzz
