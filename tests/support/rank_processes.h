// The program on several ranks, each a process with torchrun's variables. For tests of data-parallel runs.
// One thread.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/json.h"
#include "policy/weights/safetensors.h"
#include "tests/support/free_port.h"
#include "tests/support/process.h"

namespace fulcrum::testing {

// `command` on each rank; rank r writes to <log>.<r>.out and <log>.<r>.err.
inline std::vector<std::unique_ptr<Process>> start_ranks(int size, const std::vector<std::string>& command,
                                                         const std::string& log) {
  std::vector<std::unique_ptr<Process>> out;
  const std::string port = std::to_string(free_port());
  for (int rank = 0; rank < size; ++rank) {
    const std::string number = std::to_string(rank);
    std::vector<std::string> words = {"/usr/bin/env",        "MASTER_ADDR=127.0.0.1",
                                      "MASTER_PORT=" + port, "WORLD_SIZE=" + std::to_string(size),
                                      "RANK=" + number,      "LOCAL_RANK=" + number};
    words.insert(words.end(), command.begin(), command.end());
    out.push_back(std::make_unique<Process>(words, log + "." + number));
  }
  return out;
}

// The rows of a metrics.jsonl have the same names and, within `tolerance` (relative above 1), numbers; what
// measures the machine aside.
inline void expect_close_metrics(const std::vector<std::string>& got, const std::vector<std::string>& want,
                                 double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    const Json a = parse_json(got[i]).value(), b = parse_json(want[i]).value();
    EXPECT_EQ(a.size(), b.size()) << got[i] << "\n" << want[i];
    for (const auto& [name, number] : b.items()) {
      ASSERT_TRUE(a.contains(name)) << name;
      if (!number.is_number()) {
        EXPECT_EQ(a[name], number) << name;
        continue;
      }
      const double x = a[name].get<double>(), y = number.get<double>();
      EXPECT_NEAR(x, y, tolerance * std::max(1.0, std::abs(y))) << "row " << i << ", " << name;
    }
  }
}

// The largest difference of two files' fp32 tensors, which have the same names.
inline double largest_difference(const std::string& a, const std::string& b) {
  const auto one = read_safetensors(a), other = read_safetensors(b);
  EXPECT_TRUE(one.ok() && other.ok()) << a << " " << b;
  if (!one.ok() || !other.ok()) return INFINITY;
  EXPECT_EQ(one->tensors.size(), other->tensors.size());
  double out = 0;
  for (const auto& [name, tensor] : one->tensors) {
    const auto found = other->tensors.find(name);
    if (found == other->tensors.end()) return INFINITY;
    const std::vector<float> x = to_float(tensor).value(), y = to_float(found->second).value();
    if (x.size() != y.size()) return INFINITY;
    for (size_t i = 0; i < x.size(); ++i) out = std::max(out, std::abs(static_cast<double>(x[i]) - y[i]));
  }
  return out;
}

}  // namespace fulcrum::testing
