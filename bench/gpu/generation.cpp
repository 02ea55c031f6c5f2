// Completions drawn on the device: the log-probs they come with beside those of the model that learns, on the
// CPU, and their tokens beside the CPU's.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "bench/gpu/groups.h"
#include "bench/gpu/made_model.h"
#include "bench/ours/no_text.h"
#include "engine/data/pack.h"
#include "policy/nn/target_logps.h"
#include "rollout/make_generator.h"

namespace fulcrum::gpu_check {
namespace {

constexpr double kTemperature = 0.8;

struct How {
  DType dtype = DType::kF32;
  int64_t max_batch = 64;
  DeviceOptions device;  // without kernels: the CPU
};

using Groups = std::vector<RolloutGroup>;

// Prompts of many lengths, one of them longer than a page of the cache; some in groups.
std::vector<RolloutRequest> requests(const ModelSpec& spec, bool small) {
  const std::vector<int64_t> lengths =
      small ? std::vector<int64_t>{3, 1, 19} : std::vector<int64_t>{3, 1, 64, 300, 17, 129};
  std::vector<RolloutRequest> out;
  for (const int64_t length : lengths) {
    RolloutRequest r;
    r.seed = 9;
    r.index = static_cast<int64_t>(out.size());
    for (int64_t j = 0; j < length; ++j)
      r.prompt.ids.push_back(static_cast<TokenId>((r.index * 37 + j * j * 31 + j * 7) % spec.vocab_size));
    r.num_generations = 1 + r.index % 4;
    r.sampling.temperature = kTemperature;
    r.sampling.max_completion_length = small ? 6 : 48;
    out.push_back(std::move(r));
  }
  return out;
}

Groups generate(const Family& family, const std::vector<RolloutRequest>& wanted, const How& how) {
  const Model model = lively_model(family.spec);
  const GeneratorOptions options{.max_batch = how.max_batch, .device = how.device};
  const GeneratingModel made = need(make_generating_model(model.spec, model.tensors, how.dtype, options));
  return need(make_generator(made, std::make_shared<bench::NoText>(), options)->generate(wanted, {}, {}));
}

// As the generator reports them, and as the policy has them in fp32 on the CPU, of the same tokens.
struct Logps {
  at::Tensor reported, learnt;
};

Logps logps_of(const Family& family, const Groups& groups) {
  BatchBuilder builder;
  std::vector<float> reported;
  for (const RolloutGroup& group : groups) {
    builder.begin_group(group.prompt.ids);
    for (const Completion& c : group.completions) {
      builder.add_row(c.ids, {});
      reported.insert(reported.end(), c.logps.begin(), c.logps.end());
    }
  }
  const at::NoGradGuard no_gradients;
  const auto policy = need(Policy::create(lively_model(family.spec), {}));
  const TrainBatch batch = builder.take();
  return {at::tensor(reported), target_logps(*policy, batch, kTemperature, 64)};
}

// The part of the completions that are not `same`.
template <class Same>
double differing(const Groups& a, const Groups& b, const Same& same) {
  TORCH_CHECK(a.size() == b.size(), "there are ", a.size(), " groups, not ", b.size());
  double all = 0, differ = 0;
  for (size_t g = 0; g < a.size(); ++g) {
    TORCH_CHECK(a[g].completions.size() == b[g].completions.size(), "a group has another size");
    for (size_t i = 0; i < a[g].completions.size(); ++i) {
      ++all;
      if (!same(a[g].completions[i], b[g].completions[i])) ++differ;
    }
  }
  return differ / all;
}

bool same_tokens(const Completion& a, const Completion& b) { return a.ids == b.ids; }
bool same_numbers(const Completion& a, const Completion& b) { return a.ids == b.ids && a.logps == b.logps; }

void check_family(const Family& family, const CheckOptions& options, Checks& checks) {
  const auto wanted = requests(family.spec, options.small);
  for (const bool fixed : {true, false}) {
    DeviceOptions device = options.generation;
    device.fixed_order = fixed;
    const std::string order = fixed ? ", " : ", products of the library, ";
    checks.check("generation" + order + family.name + " in fp32: log-probs", 1e-4, [&](Worst& worst) {
      const Groups there = generate(family, wanted, {.device = device});
      const Logps logps = logps_of(family, there);
      worst.add(apart(logps.reported, logps.learnt, 1), std::to_string(logps.learnt.numel()) + " tokens");
    });
    checks.check("generation" + order + family.name + " in bf16: error of log-probs over the CPU's", 2,
                 [&](Worst& worst) {
                   const Logps here = logps_of(family, generate(family, wanted, {.dtype = DType::kBF16}));
                   const Logps there =
                       logps_of(family, generate(family, wanted, {.dtype = DType::kBF16, .device = device}));
                   worst.add(distance(there.reported, there.learnt) / distance(here.reported, here.learnt),
                             std::to_string(there.learnt.numel()) + " tokens");
                 });
  }
  // Where rounding decides a draw, the completion goes another way from there.
  checks.check("generation, " + family.name + " in fp32: completions that are not the CPU's", 0.15,
               [&](Worst& worst) {
                 worst.add(differing(generate(family, wanted, {.device = options.generation}),
                                     generate(family, wanted, {}), same_tokens),
                           "the part of them");
               });
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    checks.check("generation, " + family.name + (dtype == DType::kF32 ? " in fp32" : " in bf16") +
                     ": what replayed steps give and the same kernels one by one do not",
                 0, [&](Worst& worst) {
                   DeviceOptions plainly = options.generation;
                   plainly.recorded = false;
                   worst.add(
                       differing(generate(family, wanted, {.dtype = dtype, .device = options.generation}),
                                 generate(family, wanted, {.dtype = dtype, .device = plainly}), same_numbers),
                       "the part of the completions");
                 });
    checks.check("generation, " + family.name + (dtype == DType::kF32 ? " in fp32" : " in bf16") +
                     ": completions that hang on their batch",
                 0, [&](Worst& worst) {
                   const Groups all =
                       generate(family, wanted, {.dtype = dtype, .device = options.generation});
                   const Groups few = generate(
                       family, wanted, {.dtype = dtype, .max_batch = 3, .device = options.generation});
                   worst.add(differing(all, few, same_tokens), "the part of them");
                 });
  }
}

}  // namespace

void check_generation(const CheckOptions& options, Checks& checks) {
  if (options.generation.kernels == nullptr) {
    checks.leave_out("generation", "nothing generates on " + options.device.str());
    return;
  }
  for (const Family& family : families(options)) check_family(family, options, checks);
}

}  // namespace fulcrum::gpu_check
