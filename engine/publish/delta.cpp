// Four numbers of 8 bytes, little endian, and three streams behind them:
//
//   gaps      for each changed weight, how many unchanged ones stand before it: 255 adds 255 and goes on with
//             the next byte, any other ends it
//   steps     for each changed weight four bits, the lower half of a byte first: by how much its bits, as an
//             integer, have grown, -8 ... 7, where 0 says that the weight itself stands in `others`
//   others    weights of two bytes
#include "engine/publish/delta.h"

#include <cstring>

namespace fulcrum {
namespace {

struct Header {
  uint64_t weights = 0, changed = 0, gap_bytes = 0, others = 0;
};
static_assert(sizeof(Header) == 32);

constexpr uint64_t kMaxWeights = uint64_t{1} << 42;
constexpr uint8_t kGoOn = 255;
constexpr int kLeastStep = -8, kMostStep = 7;

// Where base and next differ from `i` on, or their end; eight bytes at a time.
size_t next_difference(std::span<const uint16_t> base, std::span<const uint16_t> next, size_t i) {
  constexpr size_t kWord = sizeof(uint64_t) / sizeof(uint16_t);
  for (; i + kWord <= base.size(); i += kWord) {
    uint64_t a, b;
    std::memcpy(&a, base.data() + i, sizeof a);
    std::memcpy(&b, next.data() + i, sizeof b);
    if (a != b) break;
  }
  while (i < base.size() && base[i] == next[i]) ++i;
  return i;
}

// Grows the streams one changed weight at a time.
class Encoder {
 public:
  void add(size_t gap, uint16_t from, uint16_t to) {
    for (; gap >= kGoOn; gap -= kGoOn) gaps_.push_back(static_cast<char>(kGoOn));
    gaps_.push_back(static_cast<char>(gap));
    const int step = int{to} - int{from};
    const bool fits = step >= kLeastStep && step <= kMostStep;
    const int bits = fits ? step & 15 : 0;
    if (!fits) {
      others_.push_back(static_cast<char>(to & 255));
      others_.push_back(static_cast<char>(to >> 8));
    }
    if (changed_++ % 2 == 0) {
      steps_.push_back(static_cast<char>(bits));
    } else {
      steps_.back() = static_cast<char>(steps_.back() | bits << 4);
    }
  }

  size_t size() const { return sizeof(Header) + gaps_.size() + steps_.size() + others_.size(); }

  std::string bytes(size_t weights) const {
    const Header header{weights, changed_, gaps_.size(), others_.size() / 2};
    std::string out;
    out.reserve(size());
    out.append(reinterpret_cast<const char*>(&header), sizeof header);
    return out.append(gaps_).append(steps_).append(others_);
  }

 private:
  std::string gaps_, steps_, others_;
  uint64_t changed_ = 0;
};

Status broken() { return data_loss("the difference between two versions of the weights is damaged"); }

// The header of bytes that are as long as it says; each number is bounded before it is used to count.
Result<Header> header_of(std::string_view delta, size_t weights) {
  Header h;
  if (delta.size() < sizeof h) return broken();
  std::memcpy(&h, delta.data(), sizeof h);
  if (h.weights != weights || h.weights > kMaxWeights || h.changed > h.weights || h.others > h.changed ||
      h.gap_bytes > delta.size() ||
      delta.size() != sizeof h + h.gap_bytes + (h.changed + 1) / 2 + 2 * h.others) {
    return broken();
  }
  return h;
}

}  // namespace

std::optional<std::string> encode_delta(std::span<const uint16_t> base, std::span<const uint16_t> next) {
  if (base.size() != next.size()) return std::nullopt;
  Encoder encoder;
  const size_t most = next.size_bytes() / 2;
  for (size_t from = 0;;) {
    const size_t at = next_difference(base, next, from);
    if (at == base.size()) break;
    encoder.add(at - from, base[at], next[at]);
    if (encoder.size() > most) return std::nullopt;
    from = at + 1;
  }
  return encoder.size() > most ? std::nullopt : std::optional(encoder.bytes(next.size()));
}

Result<std::optional<std::string>> encode_changes(std::span<uint16_t> weights,
                                                  std::span<const ChangedWeight> changes) {
  Encoder encoder;
  const size_t most = weights.size_bytes() / 2;
  size_t from = 0;
  for (const auto& [at, now] : changes) {
    if (at < from || at >= weights.size() || weights[at] == now)
      return data_loss("what is said to have changed is not what has changed in these weights");
    if (encoder.size() <= most) encoder.add(at - from, weights[at], now);
    weights[at] = now;
    from = at + 1;
  }
  if (encoder.size() > most) return std::optional<std::string>();
  return std::optional(encoder.bytes(weights.size()));
}

Status apply_delta(std::string_view delta, std::span<uint16_t> weights) {
  TRY(h, header_of(delta, weights.size()));
  const auto* gap = reinterpret_cast<const uint8_t*>(delta.data()) + sizeof(Header);
  const uint8_t* const gaps_end = gap + h.gap_bytes;
  const uint8_t* const steps = gaps_end;
  const uint8_t* other = steps + (h.changed + 1) / 2;
  const uint8_t* const others_end = other + 2 * h.others;
  size_t at = 0;
  for (uint64_t i = 0; i < h.changed; ++i, ++at) {
    for (; gap < gaps_end && *gap == kGoOn; ++gap) at += kGoOn;
    if (gap == gaps_end) return broken();
    at += *gap++;
    if (at >= weights.size()) return broken();
    const int bits = steps[i / 2] >> (i % 2 * 4) & 15;
    if (bits != 0) {
      weights[at] = static_cast<uint16_t>(weights[at] + (bits > kMostStep ? bits - 16 : bits));
    } else {
      if (other == others_end) return broken();
      weights[at] = static_cast<uint16_t>(other[0] | other[1] << 8);
      other += 2;
    }
  }
  return gap == gaps_end && other == others_end ? ok_status() : broken();
}

}  // namespace fulcrum
