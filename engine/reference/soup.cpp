#include "engine/reference/soup.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "engine/core/log.h"
#include "engine/core/text.h"
#include "engine/kernels/weighted_sum/op.h"
#include "engine/reference/compare_models.h"
#include "engine/reference/soup_rules.h"

namespace fulcrum {
namespace {

// A sum that is 1 but for rounding.
constexpr double kSumTolerance = 1e-9;
// Elements that are averaged at a time: their doubles stay in the cache.
constexpr int64_t kBlock = 4096;

using Values = std::vector<double>;
// Of a tensor, some elements in a row.
struct Stretch {
  const std::string& name;
  int64_t begin, count;
};

bool same_bytes(const TensorView& a, const TensorView& b) {
  return a.bytes.size() == b.bytes.size() && std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

// The models and the plan, checked; gives the soup's tensors one by one.
class Mixer {
 public:
  static Result<Mixer> create(std::span<const Ingredient> models, const SoupPlan& plan);

  Result<TensorView> tensor(const std::string& name);
  bool opposite() const { return opposite_; }

 private:
  Mixer(std::span<const Ingredient> models, const SoupPlan& plan) : models_(models), plan_(plan) {}

  Status check_models() const;
  Status read_weights();
  std::span<const double> weights_of(const std::string& name) const;
  Result<Values> values(const Ingredient& model, const Stretch& part) const;
  Result<Values> weighted_sum(const Stretch& part) const;
  Result<Values> on_the_sphere(const Stretch& whole);
  Result<Values> towards_base(Values soup, const Stretch& part) const;
  bool mixed_at_once(const std::string& name, DType dtype, float* out) const;
  Result<TensorView> mixed(const std::string& name, DType dtype);

  std::span<const Ingredient> models_;
  const SoupPlan& plan_;
  std::vector<double> weights_;
  std::vector<std::pair<TensorSelector, std::vector<double>>> rules_;
  bool opposite_ = false;  // some task vectors had no defined arc
};

Result<Mixer> Mixer::create(std::span<const Ingredient> models, const SoupPlan& plan) {
  if (models.empty()) return invalid_argument("a soup needs at least one model");
  if (plan.base == nullptr && (plan.recipe == SoupRecipe::kSlerp || plan.interpolation != 1)) {
    return invalid_argument(
        "slerp and interpolation start from the model that all were tuned from: name it as the base");
  }
  Mixer mixer(models, plan);
  TRY_DO(mixer.check_models());
  TRY_DO(mixer.read_weights());
  return mixer;
}

Status Mixer::check_models() const {
  for (const Ingredient& model : models_.subspan(1)) {
    const Comparison comparison = compare_models(models_[0], model);
    if (comparison.kind == Mismatch::kBase && !plan_.allow_other_base) {
      return invalid_argument(misfit(models_[0], model, comparison) +
                              ", so that their average is most likely broken; `fulcrum soup "
                              "--allow-different-base` makes it all the same");
    }
    if (comparison.kind != Mismatch::kNone && comparison.kind != Mismatch::kBase)
      return invalid_argument(misfit(models_[0], model, comparison));
  }
  return plan_.base == nullptr ? ok_status() : check_same_kind(*plan_.base, models_[0]);
}

Status Mixer::read_weights() {
  if (plan_.recipe == SoupRecipe::kSlerp && !(plan_.weights.empty() && plan_.rules.empty()))
    return invalid_argument("slerp takes no weights: it has its position between two models");
  TRY(weights, soup_weights(plan_, plan_.weights, models_.size()));
  weights_ = std::move(weights);
  for (const SoupRule& rule : plan_.rules) {
    const TensorSelector selector(rule.tensors);
    const auto& tensors = models_[0].model.tensors;
    if (std::none_of(tensors.begin(), tensors.end(),
                     [&](const auto& t) { return selector.matches(t.first); })) {
      return invalid_argument("weights for " + in_quotes(rule.tensors) +
                              ": no tensor has this number of a layer or this in its name");
    }
    auto own = soup_weights(plan_, rule.weights, models_.size());
    if (!own.ok()) return own.status().with_context("weights for " + in_quotes(rule.tensors));
    rules_.emplace_back(selector, std::move(own).value());
  }
  return ok_status();
}

std::span<const double> Mixer::weights_of(const std::string& name) const {
  for (const auto& [selector, weights] : rules_) {
    if (selector.matches(name)) return weights;
  }
  return weights_;
}

Result<Values> Mixer::values(const Ingredient& model, const Stretch& part) const {
  TRY(numbers, to_double(model.model.tensors.at(part.name).elements(part.begin, part.count)));
  for (const double x : numbers) {
    if (!std::isfinite(x)) {
      return invalid_argument("tensor " + in_quotes(part.name) + " of " + printable(model.name) +
                              " has an infinite or NaN value");
    }
  }
  return numbers;
}

// sum_i w_i theta_i (SALSA, section 3). It begins with the first product, not with 0, and leaves out weights
// of 0: a soup that is one of its models has that model's bits.
Result<Values> Mixer::weighted_sum(const Stretch& part) const {
  const std::span<const double> weights = weights_of(part.name);
  Values sum;
  for (size_t m = 0; m < models_.size(); ++m) {
    TRY(theta, values(models_[m], part));
    if (weights[m] == 0) continue;
    for (double& x : theta) x *= weights[m];
    if (sum.empty()) {
      sum = std::move(theta);
    } else {
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += theta[i];
    }
  }
  sum.resize(static_cast<size_t>(part.count));  // where all weights are 0
  return sum;
}

// theta_base + merge of theta_i - theta_base (WARP, section 3.2).
Result<Values> Mixer::on_the_sphere(const Stretch& whole) {
  TRY(base, values(*plan_.base, whole));
  std::vector<Values> deltas;
  for (const Ingredient& model : models_) {
    TRY(theta, values(model, whole));
    for (size_t i = 0; i < theta.size(); ++i) theta[i] -= base[i];
    deltas.push_back(std::move(theta));
  }
  const MergedTasks merged = merge_tasks(deltas, plan_.position, plan_.lerp_threshold);
  opposite_ = opposite_ || merged.opposite;
  for (size_t i = 0; i < base.size(); ++i) base[i] += merged.delta[i];
  return base;
}

// (1 - x) theta_base + x theta_soup (WARP, section 3.3, equation 4).
Result<Values> Mixer::towards_base(Values soup, const Stretch& part) const {
  if (plan_.interpolation == 1) return soup;
  TRY(base, values(*plan_.base, part));
  for (size_t i = 0; i < soup.size(); ++i)
    soup[i] = (1 - plan_.interpolation) * base[i] + plan_.interpolation * soup[i];
  return soup;
}

// The usual soup, of fp32 models in fp32, in one pass. False: it is another, or a number is not finite, which
// the longer way gives a name.
bool Mixer::mixed_at_once(const std::string& name, DType dtype, float* out) const {
  if (plan_.recipe == SoupRecipe::kSlerp || plan_.interpolation != 1 || dtype != DType::kF32) return false;
  const std::span<const double> weights = weights_of(name);
  std::vector<kernels::WeightedInput> inputs;
  for (size_t m = 0; m < models_.size(); ++m) {
    const TensorView& theta = models_[m].model.tensors.at(name);
    if (theta.dtype != DType::kF32 || weights[m] == 0) return false;
    inputs.push_back({reinterpret_cast<const float*>(theta.bytes.data()), weights[m]});
  }
  return kernels::weighted_sum(inputs, models_[0].model.tensors.at(name).numel(), out);
}

// Block by block; a slerp needs the tensor whole.
Result<TensorView> Mixer::mixed(const std::string& name, DType dtype) {
  const TensorView& first = models_[0].model.tensors.at(name);
  const bool slerp = plan_.recipe == SoupRecipe::kSlerp;
  const int64_t n = first.numel(), block = slerp ? n : kBlock;
  const size_t size = static_cast<size_t>(n) * dtype_size(dtype);
  const auto bytes = std::make_shared_for_overwrite<std::byte[]>(size);
  std::byte* at = bytes.get();
  if (mixed_at_once(name, dtype, reinterpret_cast<float*>(at)))
    return TensorView{dtype, first.shape, {bytes.get(), size}, bytes};
  for (int64_t begin = 0; begin < n; begin += block) {
    const Stretch part{name, begin, std::min(block, n - begin)};
    TRY(soup, slerp ? on_the_sphere(part) : weighted_sum(part));
    TRY(values, towards_base(std::move(soup), part));
    TRY(rounded, make_tensor({part.count}, values, dtype));
    at = std::copy(rounded.bytes.begin(), rounded.bytes.end(), at);
  }
  return TensorView{dtype, first.shape, {bytes.get(), size}, bytes};
}

Result<TensorView> Mixer::tensor(const std::string& name) {
  const TensorView& first = models_[0].model.tensors.at(name);
  if (!is_floating(first.dtype)) {  // not averaged: all must be equal
    for (const Ingredient& model : models_) {
      if (same_bytes(first, model.model.tensors.at(name))) continue;
      return invalid_argument("tensor " + in_quotes(name) + " holds integers that differ in " +
                              printable(models_[0].name) + " and " + printable(model.name));
    }
    return first;
  }
  const DType dtype = plan_.dtype.value_or(models_.size() == 1 ? first.dtype : DType::kF32);
  auto soup = mixed(name, dtype);
  if (!soup.ok() && soup.status().code() == Code::kOutOfRange) {
    return invalid_argument("tensor " + in_quotes(name) + " of the soup: " + soup.status().message() +
                            (dtype == DType::kF16 ? "; choose bfloat16" : ""));
  }
  return soup;
}

}  // namespace

Result<std::vector<double>> soup_weights(const SoupPlan& plan, std::span<const double> weights,
                                         size_t models) {
  if (weights.empty()) return std::vector<double>(models, 1.0 / static_cast<double>(models));
  if (weights.size() != models) {
    return invalid_argument("a soup of " + std::to_string(models) + " models was given " +
                            std::to_string(weights.size()) + " weights");
  }
  if (!plan.extrapolate && std::any_of(weights.begin(), weights.end(), [](double w) { return w < 0; }))
    return invalid_argument("a negative weight extrapolates: say that this is meant (--extrapolate)");
  double sum = 0;
  for (const double w : weights) sum += w;
  if (!std::isfinite(sum) || (plan.normalize && sum == 0))
    return invalid_argument("the weights of a soup must be finite and not add up to 0");
  if (!plan.normalize && !plan.extrapolate && std::abs(sum - 1) > kSumTolerance)
    return invalid_argument("weights that do not add up to 1 extrapolate: say that this is meant");
  std::vector<double> out(weights.begin(), weights.end());
  if (plan.normalize) {
    for (double& w : out) w /= sum;
  }
  return out;
}

std::vector<double> ema_weights(size_t models, double mu) {
  std::vector<double> out(models, mu);
  if (!out.empty()) out[0] = 1;
  for (size_t m = 0; m < models; ++m) out[m] *= std::pow(1 - mu, static_cast<double>(models - 1 - m));
  return out;
}

Result<Model> make_soup(std::span<const Ingredient> models, const SoupPlan& plan) {
  TRY(mixer, Mixer::create(models, plan));
  const Model& first = models[0].model;
  Model soup{.spec = first.spec, .tensors = {}, .folder = first.folder};
  for (const auto& [name, unused] : first.tensors) {
    TRY(tensor, mixer.tensor(name));
    if (is_floating(tensor.dtype)) soup.spec.dtype = tensor.dtype;
    soup.tensors.emplace(name, std::move(tensor));
  }
  if (mixer.opposite()) {
    log_warn(
        "slerp: some tensors' task vectors point away from each other; they were averaged along the "
        "straight line");
  }
  return soup;
}

}  // namespace fulcrum
