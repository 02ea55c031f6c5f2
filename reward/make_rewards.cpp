#include "reward/make_rewards.h"

#include <cmath>
#include <map>

#include "engine/core/address.h"
#include "engine/core/text.h"
#include "reward/verifier.h"

namespace fulcrum {
namespace {

struct Part {
  std::string name;
  double weight;
  std::unique_ptr<RewardFunction> judge;
};

class WeightedSum final : public RewardFunction {
 public:
  explicit WeightedSum(std::vector<Part> parts) : parts_(std::move(parts)) {}

  std::string_view name() const override { return "sum"; }

  std::vector<Verdict> score(std::span<const RewardRequest> requests, Deadline deadline,
                             std::stop_token stop) const override {
    std::vector<Verdict> sums(requests.size(), Verdict{.score = 0.0, .kind = VerdictKind::kScored});
    for (const Part& part : parts_) {
      std::vector<Verdict> verdicts = part.judge->score(requests, deadline, stop);
      verdicts.resize(requests.size(), unscored(VerdictKind::kFailed, "the judge gave too few verdicts"));
      for (size_t i = 0; i < sums.size(); ++i) add(part, verdicts[i], sums[i]);
    }
    return sums;
  }

 private:
  void add(const Part& part, const Verdict& verdict, Verdict& sum) const {
    const bool has_score = verdict.score && std::isfinite(*verdict.score);
    if (has_score) sum.parts[part.name] = *verdict.score;
    if (!has_score) sum.score.reset();
    if (sum.score) *sum.score += part.weight * *verdict.score;
    // The kinds are declared from scored to failed.
    VerdictKind kind = verdict.kind;
    if (!has_score && kind <= VerdictKind::kNoAnswer) kind = VerdictKind::kFailed;
    if (kind > sum.kind) sum.kind = kind;
    if (verdict.reason.empty()) return;
    if (!sum.reason.empty()) sum.reason += "; ";
    sum.reason += parts_.size() > 1 ? part.name + ": " + verdict.reason : verdict.reason;
  }

  std::vector<Part> parts_;
};

Result<std::unique_ptr<RewardFunction>> make_judge(const RewardConfig& config, const JudgeFactory& service,
                                                   const JudgeFactory& model) {
  if (config.name != "service" && config.name != "model") return make_reward(config);
  const JudgeFactory& make = config.name == "service" ? service : model;
  if (!make) {
    return invalid_argument("reward " + in_quotes(config.name) +
                            " cannot be reached from here; use a verifier");
  }
  TRY_DO(check_reward(config));
  return make(config);
}

}  // namespace

Result<std::string> solution_of(const Json& columns) {
  for (const char* key : {"solution", "answer", "ground_truth"}) {
    const auto found = columns.find(key);
    if (found == columns.end()) continue;
    if (found->is_string()) return found->get<std::string>();
    if (found->is_number() || found->is_boolean()) return dump_json(*found);
    return invalid_argument(std::string("column '") + key + "' is neither text nor a number");
  }
  return not_found("the row has none of the columns 'solution', 'answer', 'ground_truth'");
}

namespace {

// The keys that each judge reads beside name and weight.
std::vector<std::string> keys_of(const std::string& judge) {
  if (judge == "exact") return {"extract", "marker", "ignore_case", "no_answer_score", "max_steps"};
  if (judge == "numeric" || judge == "math")
    return {"extract", "marker", "tolerance", "no_answer_score", "max_steps"};
  if (judge == "regex") return {"pattern", "ignore_case", "max_steps"};
  if (judge == "length") return {"target", "max_length", "soft_length", "max_steps"};
  if (judge == "format") return {"format", "max_steps"};
  if (judge == "model") return {"path"};
  if (judge == "service") return {"address", "timeout_s"};
  return {"max_steps"};  // prefix_match
}

// A key that the judge would silently ignore is an error: the user believes that it acts.
Status check_keys(const RewardConfig& config) {
  const Json set = write_config(config), defaults = write_config(RewardConfig{});
  const std::vector<std::string> read = keys_of(config.name);
  std::vector<std::string> unused;
  for (const auto& [key, value] : set.items()) {
    const bool known = key == "name" || key == "weight" || contains(read, key);
    if (!known && value != defaults.at(key)) unused.push_back("'" + key + "'");
  }
  if (unused.empty()) return ok_status();
  return invalid_argument("reward " + in_quotes(config.name) + " does not use " + join(unused, ", ") +
                          (unused.size() == 1 ? ": leave it out" : ": leave them out"));
}

// A service listens somewhere: port 0 is nobody's.
Status check_address(const RewardConfig& config) {
  const Result<Address> address = parse_address(config.address);
  const Status status = address.ok() && address->port == 0
                            ? invalid_argument("address " + in_quotes(config.address) + " is not HOST:PORT")
                            : address.status();
  return status.ok() ? status : status.with_context("reward 'service'");
}

}  // namespace

Result<std::unique_ptr<RewardFunction>> make_reward(const RewardConfig& config) {
  TRY_DO(check_keys(config));
#define VERIFIER(verifier) \
  if (config.name == #verifier) return make_##verifier(config);
#include "reward/verifiers.def"
#undef VERIFIER
  std::vector<std::string> names;
#define VERIFIER(verifier) names.emplace_back(#verifier);
#include "reward/verifiers.def"
#undef VERIFIER
  return invalid_argument("no verifier is named " + in_quotes(config.name) + "; there are " +
                          join(names, ", "));
}

Status check_reward(const RewardConfig& config) {
  if (config.name == "model" && config.path.empty()) return invalid_argument("reward 'model' needs 'path'");
  if (config.name == "service" && config.address.empty())
    return invalid_argument("reward 'service' needs 'address'");
  if (config.name == "service") TRY_DO(check_address(config));
  if (config.name == "model" || config.name == "service") return check_keys(config);
  return make_reward(config).status();
}

std::vector<std::string> reward_names(const std::vector<RewardConfig>& configs) {
  std::map<std::string, int> seen;
  std::vector<std::string> names;
  for (const RewardConfig& config : configs) {
    const int count = ++seen[config.name];
    names.push_back(count == 1 ? config.name : config.name + "_" + std::to_string(count));
  }
  return names;
}

Result<std::unique_ptr<RewardFunction>> make_rewards(const std::vector<RewardConfig>& configs,
                                                     const JudgeFactory& service, const JudgeFactory& model) {
  if (configs.empty()) return invalid_argument("key 'reward_funcs' is empty; name at least one reward");
  std::vector<Part> parts;
  const std::vector<std::string> names = reward_names(configs);
  for (const RewardConfig& config : configs) {
    TRY(judge, make_judge(config, service, model));
    parts.push_back({names[parts.size()], config.weight, std::move(judge)});
  }
  return std::unique_ptr<RewardFunction>(std::make_unique<WeightedSum>(std::move(parts)));
}

}  // namespace fulcrum
