// Where tests find data. Data of others is never in the repository: FULCRUM_TEST_DATA names its folder, and a
// test that needs it skips, with a word, where it is not there.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace fulcrum::testing {

// The repository, and the build folder (folders.cpp).
std::filesystem::path source_folder();
std::filesystem::path build_folder();

// The folder of foreign test data, or empty.
inline std::filesystem::path test_data() {
  const char* root = std::getenv("FULCRUM_TEST_DATA");
  return root == nullptr ? std::filesystem::path() : std::filesystem::path(root);
}

// A fresh folder that is removed with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fulcrum-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace fulcrum::testing

// First line of a test on foreign data: FULCRUM_NEEDS_DATA("tinyllama-260k/stories260K.bin");
#define FULCRUM_NEEDS_DATA(relative)                                          \
  if (::fulcrum::testing::test_data().empty() ||                              \
      !std::filesystem::exists(::fulcrum::testing::test_data() / (relative))) \
  GTEST_SKIP() << "needs " << (relative) << " under FULCRUM_TEST_DATA"
