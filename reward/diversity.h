// How varied a set of texts is: distinct-n and self-BLEU over words. Called by studies and evaluations. Pure
// functions, thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fulcrum {

// Different n-grams of words over all n-grams, in all texts together (Li et al., arXiv 1510.03055). No value:
// no n-gram.
std::optional<double> distinct_n(std::span<const std::string> texts, int n);

// Mean BLEU-4 of each text against all the others as references (Zhu et al., "Texygen", arXiv 1802.01886):
// uniform weights over 1- to 4-grams, clipped counts, brevity penalty against the nearest length (the shorter
// on a tie), an n-gram order without a match counts as 1 match in 2 x candidates (Chen and Cherry 2014,
// smoothing 1 in spirit), so that short texts have a value. 1: all alike. No value: fewer than two texts.
std::optional<double> self_bleu(std::span<const std::string> texts);

}  // namespace fulcrum
