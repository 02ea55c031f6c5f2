// Comparisons of a device with the CPU, each one line of a report. A check group fills a Checks; main.cpp and
// the tests print or read its lines. One thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "policy/decode/device/options.h"

namespace fulcrum::gpu_check {

// The largest of several errors, and where it was.
class Worst {
 public:
  // NaN counts as infinite.
  void add(double error, const std::string& where);
  double error() const { return error_; }
  const std::string& where() const { return where_; }

 private:
  double error_ = 0;
  std::string where_;
};

enum class State { kOk, kFailed, kLeftOut };

struct Line {
  std::string name;
  State state = State::kOk;
  double error = 0, tolerance = 0;
  std::string note;  // where the error was, or why there is none
};

class Checks {
 public:
  explicit Checks(std::function<void(const Line&)> say) : say_(std::move(say)) {}

  // run() adds its errors, none of which may be above the tolerance, and at least one of which there must be.
  // What it throws fails the check, not the process.
  void check(const std::string& name, double tolerance, const std::function<void(Worst&)>& run);
  void leave_out(const std::string& name, const std::string& why);

  int64_t lines() const { return lines_; }
  int64_t failed() const { return failed_; }

 private:
  void say(Line line);

  std::function<void(const Line&)> say_;
  int64_t lines_ = 0, failed_ = 0;
};

struct CheckOptions {
  at::Device device = at::kCPU;
  DeviceOptions generation;              // without kernels: nothing generates but the CPU
  bool small = false;                    // sizes for a device that is emulated
  std::vector<at::Device> members = {};  // of a group, one each; fewer than two: there is no group
};

// The list stands in groups.cpp.
struct CheckGroup {
  const char* name;
  void (*run)(const CheckOptions& options, Checks& checks);
};
std::span<const CheckGroup> check_groups();

// The largest |got - want| / max(|want|, least) over all elements; equal infinities and NaNs are no error.
double apart(const at::Tensor& got, const at::Tensor& want, double least);
// |got - want| / |want| as vectors.
double distance(const at::Tensor& got, const at::Tensor& want);

}  // namespace fulcrum::gpu_check
