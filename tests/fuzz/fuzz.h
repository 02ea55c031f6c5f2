// What the fuzz targets share. A target is one file <name>_fuzz.cpp with LLVMFuzzerTestOneInput and one line
// in cmake/Fuzz.cmake; it takes foreign bytes and checks laws on what comes out, not only that nothing
// crashes. The same file runs in two ways: the test `fuzz` replays tests/fuzz/corpus/<name>/ and mutations of
// it, and `./dev fuzz <name>` lets libFuzzer search. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/status.h"

namespace fulcrum::fuzz {

// Thrown where a law does not hold: uncaught it ends libFuzzer's run, the replay catches it and names the
// input.
class BrokenLaw : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void broken_law(const char* file, int line, const std::string& what);

// An error as the house promises it: a code, and one line without control characters that is not endless.
void check_error(const Status& status);
// The same for a Result: whether it holds a value; if not, its error is checked.
template <class T>
bool good(const Result<T>& result) {
  if (!result.ok()) check_error(result.status());
  return result.ok();
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// An input that stands for several files: they are separated by a line "%%". Always `count` parts, missing
// ones empty; the last takes the rest.
std::vector<std::string_view> split_parts(std::string_view input, size_t count);

// A folder in memory for readers that take a path. Removed with the object.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::filesystem::path path(std::string_view name = "") const;
  void put(std::string_view name, std::string_view bytes) const;
  std::string get(std::string_view name) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace fulcrum::fuzz

#define LAW(...)                                                                       \
  do {                                                                                 \
    if (!(__VA_ARGS__)) ::fulcrum::fuzz::broken_law(__FILE__, __LINE__, #__VA_ARGS__); \
  } while (false)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
