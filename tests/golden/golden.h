// Reading golden files (their README: the schema) and comparing: what a case holds, how near a number must
// be, and what was run and skipped, printed for each op.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "tests/support/loss_fixture.h"
#include "tests/support/test_data.h"

namespace fulcrum::golden {

using testing::FixtureRow;
using testing::LossFixture;
using testing::LossRun;

inline Json load(const std::string& name) {
  const auto text = read_file(testing::source_folder() / "tests" / "golden" / (name + ".json"));
  if (!text.ok()) {
    ADD_FAILURE() << text.status().message();
    return Json::object();
  }
  return *parse_json(*text);
}

inline double number(const Json& value) {
  if (!value.is_string()) return value.get<double>();
  const auto text = value.get<std::string>();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  return text == "-inf" ? -std::numeric_limits<double>::infinity() : std::nan("");
}
inline double number(const Json& object, const std::string& key, double otherwise) {
  return object.contains(key) && !object[key].is_null() ? number(object[key]) : otherwise;
}
inline std::vector<double> numbers(const Json& list) {
  std::vector<double> out;
  for (const Json& value : list) out.push_back(number(value));
  return out;
}
inline std::vector<int> integers(const Json& list) { return list.get<std::vector<int>>(); }

struct Tolerance {
  double relative, absolute;
  static Tolerance float64() { return {1e-10, 1e-12}; }
  static Tolerance float32() { return {3e-5, 3e-6}; }
};

// What happened to one op of one file; printed when it goes out of scope.
class Op {
 public:
  explicit Op(std::string name) : name_(std::move(name)) {}
  ~Op() {
    std::printf("  %-34s %3d run, %3d skipped%s%s%s, %5ld numbers, worst %.3f of its tolerance\n",
                name_.c_str(), run_, skipped_, reasons_.empty() ? "" : " (", reasons_.c_str(),
                reasons_.empty() ? "" : ")", compared_, worst_);
  }
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;

  void ran() { ++run_; }
  void skip(const std::string& reason) {
    ++skipped_;
    if (reasons_.find(reason) == std::string::npos) reasons_ += (reasons_.empty() ? "" : "; ") + reason;
  }
  void check(double got, double want, Tolerance tolerance, const std::string& what) {
    ++compared_;
    if (std::isnan(want) || std::isinf(want)) {
      EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : got == want) << what << ": " << got << " for " << want;
      return;
    }
    const double share = std::abs(got - want) / (tolerance.absolute + tolerance.relative * std::abs(want));
    if (!(share <= worst_)) worst_ = share;
    EXPECT_LE(share, 1.0) << what << ": " << got << " for " << want;
  }
  void check(const std::vector<double>& got, const Json& want, Tolerance tolerance, const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    for (size_t i = 0; i < got.size(); ++i)
      check(got[i], number(want[i]), tolerance, what + "[" + std::to_string(i) + "]");
  }
  // A [B][T] matrix against the first rows of `got`, from `offset`.
  void check(const std::vector<std::vector<double>>& got, const Json& want, Tolerance tolerance,
             const std::string& what, size_t offset = 0) {
    ASSERT_GE(got.size(), want.size() + offset) << what;
    for (size_t r = 0; r < want.size(); ++r)
      check(got[r + offset], want[r], tolerance, what + "[" + std::to_string(r) + "]");
  }

 private:
  std::string name_, reasons_;
  int run_ = 0, skipped_ = 0;
  long compared_ = 0;
  double worst_ = 0;
};

// The cases of one op of a layout-B file.
inline std::vector<Json> cases(const Json& file, const std::string& op) {
  std::vector<Json> out;
  for (const Json& c : file["cases"]) {
    if (c["op"] == op) out.push_back(c);
  }
  EXPECT_FALSE(out.empty()) << op;
  return out;
}

inline std::vector<double> to_vector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kDouble).contiguous().view(-1);
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

}  // namespace fulcrum::golden
