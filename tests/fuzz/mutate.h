// The replay's mutations: small, blind and the same on every machine. Called by replay_main.cpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/core/rng.h"

namespace fulcrum::fuzz {

// `seed` after one to five edits: bytes set, cut, repeated or swapped for ones that parsers know, a stretch
// of another seed put in.
inline std::string mutated(std::string seed, const std::vector<std::string>& seeds, Rng& rng) {
  using namespace std::string_view_literals;
  constexpr std::string_view kTelling = "\0\1\x7F\x80\xFF\"\\{}[],:0-9.e+ \n\t%/<>$^_()=|"sv;
  const auto stretch = [&](const std::string& from) {
    if (from.empty()) return std::string();
    const size_t begin = rng.below(from.size());
    return from.substr(begin, 1 + rng.below(16));
  };
  for (uint64_t edits = 1 + rng.below(5); edits > 0; --edits) {
    const size_t at = rng.below(seed.size() + 1);
    const uint64_t how = rng.below(6);
    if (how == 0) seed.insert(at, stretch(seeds[rng.below(seeds.size())]));
    if (how == 1) seed.insert(at, stretch(seed));
    if (how == 2) seed.insert(at, 1, kTelling[rng.below(kTelling.size())]);
    if (at == seed.size()) continue;
    if (how == 3) seed[at] = kTelling[rng.below(kTelling.size())];
    if (how == 4) seed[at] = static_cast<char>(seed[at] ^ (1 << rng.below(8)));
    if (how == 5) seed.erase(at, rng.below(4) == 0 ? std::string::npos : 1 + rng.below(8));
  }
  return seed;
}

}  // namespace fulcrum::fuzz
