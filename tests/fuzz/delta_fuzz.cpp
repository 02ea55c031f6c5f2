// The difference between two versions of the weights: whatever the bytes, what is read stays inside the
// weights; and what they make of a base is what a difference made here says of the two.
#include "engine/publish/delta.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

// The first two bytes: how many weights.
void check(std::string_view input) {
  if (input.size() < 2) return;
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(input[i])); };
  // On the heap and of exactly this size, so that a write past the end is seen.
  std::vector<uint16_t> base(byte(0) + 256 * byte(1));
  for (size_t i = 0; i < base.size(); ++i) base[i] = static_cast<uint16_t>(i * 40503);
  std::vector<uint16_t> made = base;
  const std::string delta(input.substr(2));
  if (const Status status = apply_delta(delta, made); !status.ok()) return check_error(status);
  const auto again = encode_delta(base, made);
  if (!again) return;  // too many weights changed
  LAW(again->size() <= base.size());
  std::vector<uint16_t> twice = base;
  LAW(apply_delta(*again, twice).ok());
  LAW(twice == made);
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
