#include "engine/reference/greedy.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace fulcrum {
namespace {

double mean(std::span<const double> x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

// Of the mean of x - y, item by item.
double standard_error(const Scores& x, const Scores& y) {
  Scores difference(x.size());
  for (size_t i = 0; i < x.size(); ++i) difference[i] = x[i] - y[i];
  const double centre = mean(difference);
  double squares = 0;
  for (const double d : difference) squares += (d - centre) * (d - centre);
  const auto n = static_cast<double>(x.size());
  return std::sqrt(squares / (n - 1) / n);
}

bool improves(const Scores& candidate, const Scores& best, const GreedyRule& rule) {
  const double gain = mean(candidate) - mean(best);
  const double needed = rule.margin > 0 ? rule.margin * standard_error(candidate, best) : 0;
  return gain > needed || (rule.accept_equal && rule.margin == 0 && gain == 0);
}

Status check_scores(const Scores& scores, size_t items, const GreedyRule& rule) {
  if (scores.empty() || scores.size() != items)
    return invalid_argument("every soup must be scored on the same held-out items, at least one");
  if (rule.margin > 0 && items < 2)
    return invalid_argument("a margin in standard errors needs at least two held-out items");
  for (const double s : scores) {
    if (!std::isfinite(s)) return invalid_argument("a held-out score is infinite or NaN");
  }
  return ok_status();
}

}  // namespace

std::vector<double> uniform_over(std::span<const size_t> ingredients, size_t models) {
  std::vector<double> weights(models, 0.0);
  for (const size_t i : ingredients) weights[i] = 1.0 / static_cast<double>(ingredients.size());
  return weights;
}

Result<GreedyPath> greedy_soup(size_t models, const GreedyRule& rule,
                               const std::function<Result<Scores>(std::span<const double>)>& score) {
  if (models == 0) return invalid_argument("a soup needs at least one model");
  GreedyPath path;
  std::vector<Scores> alone;
  const auto scored = [&](std::span<const size_t> ingredients) -> Result<Scores> {
    TRY(scores, score(uniform_over(ingredients, models)));
    TRY_DO(check_scores(scores, alone.empty() ? scores.size() : alone[0].size(), rule));
    return scores;
  };
  for (size_t m = 0; m < models; ++m) {
    TRY(scores, scored({&m, 1}));
    path.alone.push_back(mean(scores));
    alone.push_back(std::move(scores));
    path.order.push_back(m);
  }
  std::stable_sort(path.order.begin(), path.order.end(),
                   [&](size_t a, size_t b) { return path.alone[a] > path.alone[b]; });
  path.ingredients = {path.order[0]};
  Scores best = alone[path.order[0]];
  path.best_after_each = {mean(best)};
  for (size_t i = 1; i < models; ++i) {
    std::vector<size_t> with = path.ingredients;
    with.push_back(path.order[i]);
    TRY(candidate, scored(with));
    if (improves(candidate, best, rule)) {
      best = std::move(candidate);
      path.ingredients = std::move(with);
    }
    path.best_after_each.push_back(mean(best));
  }
  return path;
}

}  // namespace fulcrum
