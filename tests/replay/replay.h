// The replay tool: golden files (tests/golden/README.md: schema, encodings, tolerances) through the product's
// own code. A file is known by its content, a case by its op; each ops_*.cpp registers what it can evaluate.
// Used by the program build/bin/replay and by tests/golden/replay_test.cpp.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum::replay {

// A number as the files write it: a JSON number, "inf", "-inf" or "nan". Throws std::invalid_argument
// otherwise.
double number(const Json& value);
// An optional field; null where it is absent or null, which mean the same.
const Json* given(const Json& object, const std::string& key);
double number_or(const Json& object, const std::string& key, double otherwise);
std::optional<double> number_if_given(const Json& object, const std::string& key);
bool flag_or(const Json& object, const std::string& key, bool otherwise);
std::string text_or(const Json& object, const std::string& key, const std::string& otherwise);
std::vector<double> numbers(const Json& list);
std::vector<std::vector<double>> matrix(const Json& rows);

enum class Precision { kFloat64, kFloat32 };

// |got - want| <= absolute + relative |want|.
struct Tolerance {
  double relative = 1e-10, absolute = 1e-12;
};

// What came of one op: the cases run and skipped, and the largest error as a share of its tolerance.
class Tally {
 public:
  void ran() { ++run_; }
  void skipped() { ++skipped_; }

  // `what` names the field in messages. Infinities and NaN must match; a number that is not there
  // ("undefined", null) is compared with undefined().
  void near(double got, const Json& want, Tolerance tolerance, const std::string& what);
  void near(const std::vector<double>& got, const Json& want, Tolerance tolerance, const std::string& what);
  void near(const std::vector<std::vector<double>>& got, const Json& want, Tolerance tolerance,
            const std::string& what);
  // Strings, integers, booleans and lists of them: exact.
  void equal(const Json& got, const Json& want, const std::string& what);
  // The product refused (a Status that is not ok) where the file says "undefined".
  void refused(const Status& status, const std::string& what);
  void fail(const std::string& message);

  int64_t run() const { return run_; }
  int64_t skips() const { return skipped_; }
  double worst() const { return worst_; }                                 // infinity after fail()
  const std::vector<std::string>& failures() const { return failures_; }  // the first ten

 private:
  int64_t run_ = 0, skipped_ = 0;
  double worst_ = 0;
  std::vector<std::string> failures_;
};

// Evaluates one case: `item` is the case of a B file, or one entry of a block (or the whole block, where it
// is an object) of an A file. It calls tally.ran() or tally.skipped() once and reports every number. What it
// throws is a failure of the case.
using Op = std::function<void(const Json& item, Precision precision, Tally& tally)>;

struct Ops {
  std::map<std::string, Op> by_name;  // B: the op. A: "<schema without version>.<block>", as "f_dpo.scores"
  void add(const std::string& name, Op op);
};

// Everything the tool knows; one function a family.
void add_policy_gradient_ops(Ops& ops);
void add_surrogate_ops(Ops& ops);
void add_ppo_ops(Ops& ops);
void add_dph_rl_ops(Ops& ops);
void add_salsa_ops(Ops& ops);
void add_f_dpo_ops(Ops& ops);
void add_tdpo_ops(Ops& ops);
void add_f_dpg_ops(Ops& ops);
Ops all_ops();

// The tallies of a file, by op and precision ("gae float64"). kInvalidArgument: not a golden file, or an op
// that is not known (named).
Result<std::map<std::string, Tally>> replay_file(const Json& file, const Ops& ops);

}  // namespace fulcrum::replay
