#include "reward/diversity.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace fulcrum {
namespace {

using Words = std::vector<std::string>;
using Counts = std::map<std::string, int64_t>;

constexpr int kMaxOrder = 4;

Words words_of(const std::string& text) {
  Words out;
  std::string word;
  for (const char c : text + " ") {
    if (c != ' ' && c != '\n' && c != '\t') {
      word += c;
    } else if (!word.empty()) {
      out.push_back(std::exchange(word, {}));
    }
  }
  return out;
}

// n-grams joined by a byte that no word has.
Counts ngrams(const Words& words, size_t n) {
  Counts out;
  for (size_t i = 0; i + n <= words.size(); ++i) {
    std::string gram;
    for (size_t j = i; j < i + n; ++j) gram += words[j] + '\n';
    ++out[gram];
  }
  return out;
}

// For each n-gram the largest and the second largest count in one text, and whose the largest is: the
// references of a text are all the others, without counting them anew for each.
struct TopCounts {
  int64_t first = 0, second = 0;
  size_t owner = 0;
  void note(int64_t count, size_t text) {
    if (count > first) {
      second = first;
      first = count;
      owner = text;
    } else {
      second = std::max(second, count);
    }
  }
  int64_t without(size_t text) const { return owner == text ? second : first; }
};

// Of the other lengths the one nearest to `own`.
int64_t nearest_length(const std::multiset<int64_t>& lengths, int64_t own) {
  auto others = lengths;
  others.erase(others.find(own));
  const auto above = others.lower_bound(own);
  if (above == others.begin()) return *above;
  const int64_t below = *std::prev(above);
  return above == others.end() || own - below <= *above - own ? below : *above;
}

}  // namespace

std::optional<double> distinct_n(std::span<const std::string> texts, int n) {
  std::set<std::string> different;
  int64_t all = 0;
  for (const std::string& text : texts) {
    for (const auto& [gram, count] : ngrams(words_of(text), static_cast<size_t>(n))) {
      different.insert(gram);
      all += count;
    }
  }
  if (all == 0) return std::nullopt;
  return static_cast<double>(different.size()) / static_cast<double>(all);
}

std::optional<double> self_bleu(std::span<const std::string> texts) {
  if (texts.size() < 2) return std::nullopt;
  std::vector<Words> words;
  std::multiset<int64_t> lengths;
  for (const std::string& text : texts) {
    words.push_back(words_of(text));
    lengths.insert(static_cast<int64_t>(words.back().size()));
  }
  std::vector<double> log_precision(texts.size(), 0.0);
  for (int n = 1; n <= kMaxOrder; ++n) {
    std::vector<Counts> counts;
    std::map<std::string, TopCounts> top;
    for (size_t t = 0; t < words.size(); ++t) {
      counts.push_back(ngrams(words[t], static_cast<size_t>(n)));
      for (const auto& [gram, count] : counts[t]) top[gram].note(count, t);
    }
    for (size_t t = 0; t < words.size(); ++t) {
      double matched = 0, candidates = 0;
      for (const auto& [gram, count] : counts[t]) {
        matched += static_cast<double>(std::min(count, top[gram].without(t)));
        candidates += static_cast<double>(count);
      }
      if (candidates == 0) continue;  // shorter than n words: the order does not count
      log_precision[t] += std::log(std::max(matched, 0.5) / candidates) / kMaxOrder;
    }
  }
  double sum = 0;
  for (size_t t = 0; t < words.size(); ++t) {
    const auto own = static_cast<double>(words[t].size());
    const auto reference =
        static_cast<double>(nearest_length(lengths, static_cast<int64_t>(words[t].size())));
    const double brevity = own >= reference || own == 0 ? 0 : 1 - reference / own;
    sum += own == 0 ? 0 : std::exp(log_precision[t] + brevity);
  }
  return sum / static_cast<double>(texts.size());
}

}  // namespace fulcrum
