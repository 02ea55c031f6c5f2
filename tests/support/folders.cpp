#include "tests/support/test_data.h"

namespace fulcrum::testing {

std::filesystem::path source_folder() { return FULCRUM_SOURCE_DIR; }
std::filesystem::path build_folder() { return FULCRUM_BINARY_DIR; }

}  // namespace fulcrum::testing
