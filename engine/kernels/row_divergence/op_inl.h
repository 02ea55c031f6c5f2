// The rows of row_divergence for the instruction set this is compiled for, included once by each
// op_<set>.cpp, which defines FULCRUM_ROW_VALUE and FULCRUM_ROW_GRADIENT. The generators are the table's own
// text, over vectors: a Lane is a number to them. They are templates, so Highway's way of compiling a region
// for a set does not reach them; the whole file is compiled for it instead, and must leave no function behind
// that is not of this file (tools/check_symbols.sh looks).
#pragma once

#define HWY_COMPILE_ONLY_STATIC
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "engine/divergence/generators/adaptors.h"
#include "engine/divergence/generators/alpha_divergence.h"
#include "engine/divergence/generators/chi_po.h"
#include "engine/divergence/generators/chi_squared.h"
#include "engine/divergence/generators/forward_kl.h"
#include "engine/divergence/generators/hellinger.h"
#include "engine/divergence/generators/jeffreys.h"
#include "engine/divergence/generators/js_divergence.h"
#include "engine/divergence/generators/reverse_kl.h"
#include "engine/divergence/generators/total_variation.h"
#include "engine/kernels/row_divergence/target.h"
#include "engine/kernels/simd_inl.h"

namespace fulcrum::kernels::HWY_NAMESPACE {

inline constexpr float kNear = 20;  // log-ratios within it keep everything in fp32's range
inline constexpr int64_t kDivergenceBlock = 256;

// A condition on every number of a vector.
struct Where {
  hn::Mask<Floats> mask;
  // Of conditions on the generator's own parameters, which are alike everywhere.
  HWY_INLINE explicit operator bool() const { return hn::AllTrue(Floats(), mask); }
};
HWY_INLINE Where operator&&(Where a, Where b) { return {hn::And(a.mask, b.mask)}; }

struct Lane {
  Vector v;
  Lane() = default;
  HWY_INLINE Lane(Vector x) : v(x) {}
  HWY_INLINE explicit Lane(double x) : v(hn::Set(Floats(), static_cast<float>(x))) {}
};
HWY_INLINE Lane operator+(Lane a, Lane b) { return hn::Add(a.v, b.v); }
HWY_INLINE Lane operator-(Lane a, Lane b) { return hn::Sub(a.v, b.v); }
HWY_INLINE Lane operator*(Lane a, Lane b) { return hn::Mul(a.v, b.v); }
HWY_INLINE Lane operator/(Lane a, Lane b) { return hn::Div(a.v, b.v); }
HWY_INLINE Lane operator-(Lane a) { return hn::Neg(a.v); }
HWY_INLINE Where operator<(Lane a, Lane b) { return {hn::Lt(a.v, b.v)}; }
HWY_INLINE Where operator>(Lane a, Lane b) { return {hn::Gt(a.v, b.v)}; }
HWY_INLINE Where operator==(Lane a, Lane b) { return {hn::Eq(a.v, b.v)}; }
HWY_INLINE Lane select(Where condition, Lane yes, Lane no) {
  return hn::IfThenElse(condition.mask, yes.v, no.v);
}
HWY_INLINE Lane abs(Lane x) { return hn::Abs(x.v); }
HWY_INLINE Lane exp(Lane x) { return ExpOf(x.v); }
HWY_INLINE Lane expm1(Lane x) { return hn::Expm1(Floats(), x.v); }
HWY_INLINE Lane log1p(Lane x) { return hn::Log1p(Floats(), x.v); }
HWY_INLINE Lane tanh(Lane x) { return hn::Tanh(Floats(), x.v); }
HWY_INLINE Lane finite(Lane x) { return x; }  // rows that are not were refused
HWY_INLINE Where overflowed(Lane u) { return {hn::Gt(u.v, hn::Set(Floats(), 3.4028234e38f))}; }

namespace {

struct Row {
  const DivergenceTask& task;
  const Shift policy{task.policy_lse}, reference{task.reference_lse};

  HWY_INLINE Vector LogPolicy(int64_t at) const {
    return policy(LoadPart(task.policy + at, task.n - at, Nothing(task.policy_lse)));
  }
  HWY_INLINE Vector LogReference(int64_t at) const {
    return reference(LoadPart(task.reference + at, task.n - at, Nothing(task.reference_lse)));
  }

  bool Near() const {
    const Vector limit = hn::Set(Floats(), kNear);
    for (int64_t at = 0; at < task.n; at += kLanes) {
      const Vector l = hn::Abs(hn::Sub(LogPolicy(at), LogReference(at)));
      if (!hn::AllTrue(Floats(), hn::Lt(l, limit))) return false;  // a NaN is not near either
    }
    return true;
  }

 private:
  // What is past the row has no probability under either.
  HWY_INLINE static float Nothing(double lse) { return static_cast<float>(lse - 200); }
};

// The sum of a row: add(at, log p, log-ratio, chain) adds to a chain what the tokens from `at` on give.
// Blocks are added in double.
template <class Add>
HWY_INLINE double SumOver(const Row& row, const Add& add) {
  double total = 0;
  for (int64_t begin = 0; begin < row.task.n; begin += kDivergenceBlock) {
    const int64_t end = begin + kDivergenceBlock < row.task.n ? begin + kDivergenceBlock : row.task.n;
    Chains sum;
    for (int64_t i = begin; i < end; i += 16) {
      for (int j = 0; j < kRowVectors; ++j) {
        const int64_t at = i + j * kLanes;
        const Vector log_p = row.LogReference(at);
        add(at, log_p, Lane(hn::Sub(row.LogPolicy(at), log_p)), sum.of[j]);
      }
    }
    total += sum.Total();
  }
  return total;
}

template <class G>
double Value(const G& g, const Row& row) {
  return SumOver(row, [&](int64_t, Vector log_p, Lane l, Vector& chain) {
    chain = Fma(ExpOf(log_p), g.value(l).v, chain);
  });
}

// The slopes p u f'(u) take the place of the reference's logits; their sum.
template <class G>
double Slopes(const G& g, const Row& row) {
  return SumOver(row, [&](int64_t at, Vector log_p, Lane l, Vector& chain) {
    const Vector slope = hn::Mul(ExpOf(log_p), g.gradient(l).v);
    chain = hn::Add(chain, slope);
    StorePart(slope, row.task.reference + at, row.task.n - at);
  });
}

void Write(const Row& row, float sum, float d_logp, float d_divergence, int64_t id) {
  const Floats d;
  const DivergenceTask& t = row.task;
  const Vector through_logp = hn::Set(d, -d_logp), through_divergence = hn::Set(d, d_divergence);
  const Vector mean = hn::Set(d, sum);
  for (int64_t at = 0; at < t.n; at += kLanes) {
    const Vector pi = ExpOf(row.LogPolicy(at));
    const Vector slope = hn::Sub(LoadPart(t.reference + at, t.n - at), hn::Mul(pi, mean));
    StorePart(Fma(slope, through_divergence, hn::Mul(pi, through_logp)), t.policy + at, t.n - at);
  }
  t.policy[id] += d_logp;
}

HWY_INLINE bool IsFinite(double x) { return x - x == 0; }

// Calls f with the centred generator of a task.
template <class F>
bool WithGenerator(const DivergenceTask& task, const F& f) {
  using namespace generators;
  struct {
    double alpha, js_scale;
  } o{task.alpha, task.js_scale};
  (void)o;
  int entry = 0;
#define FULCRUM_DIVERGENCE(name, ...) \
  if (entry++ == task.entry) return f(centred_of(__VA_ARGS__));
#include "engine/divergence/generators/divergences.def"
#undef FULCRUM_DIVERGENCE
  return false;
}

}  // namespace
}  // namespace fulcrum::kernels::HWY_NAMESPACE

namespace fulcrum::kernels {

bool FULCRUM_ROW_VALUE(const DivergenceTask& task, double* value) {
  using namespace HWY_NAMESPACE;
  const Row row{task};
  return row.Near() && WithGenerator(task, [&](const auto& g) {
           *value = Value(g, row);
           return IsFinite(*value);
         });
}

bool FULCRUM_ROW_GRADIENT(const DivergenceTask& task, float d_logp, float d_divergence, int64_t id) {
  using namespace HWY_NAMESPACE;
  const Row row{task};
  return row.Near() && WithGenerator(task, [&](const auto& g) {
           Write(row, static_cast<float>(Slopes(g, row)), d_logp, d_divergence, id);
           return true;
         });
}

}  // namespace fulcrum::kernels
