#include "engine/core/hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/core/hash_step.h"

namespace fulcrum {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(state_->context, bytes.data(), bytes.size());
}

void Sha256::update(std::string_view bytes) { update(std::as_bytes(std::span(bytes.data(), bytes.size()))); }

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  EVP_DigestFinal_ex(state_->context, digest.data(), &length);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(size_t{2} * length);
  for (unsigned i = 0; i < length; ++i) {
    out += kDigits[digest[i] >> 4];
    out += kDigits[digest[i] & 15];
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

Result<std::string> sha256_file(const Path& path) {
  TRY(file, MappedFile::open(path));
  Sha256 hash;
  hash.update(file->bytes());
  return hash.hex();
}

namespace {

// tables[0] is that of one byte; tables[k] that of a byte with k bytes of 0 behind it (Kounavis and Berry, "A
// systematic approach to building high performance software-based CRC generators", 2005).
using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

CrcTables make_crc_tables() {
  CrcTables t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) ? 0x82F63B78u : 0u);
    t[0][i] = c;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t i = 0; i < 256; ++i) t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 0xFF];
  }
  return t;
}

uint64_t word_at(const void* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const CrcTables t = make_crc_tables();
  uint32_t crc = 0xFFFFFFFFu;
  for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
    const uint64_t word = word_at(bytes.data()) ^ crc;
    crc = 0;
    for (size_t k = 0; k < 8; ++k) crc ^= t[7 - k][word >> (8 * k) & 0xFF];
  }
  for (const char b : bytes) crc = (crc >> 8) ^ t[0][(crc ^ static_cast<unsigned char>(b)) & 0xFF];
  return ~crc;
}

// Eight lanes side by side, so that the multiplications do not wait for each other; then the lanes one by
// one, and the length.
uint64_t hash64(std::span<const std::byte> bytes) {
  const uint64_t length = bytes.size();
  std::array<uint64_t, kHash64Lanes> lanes{};
  for (size_t i = 0; i < lanes.size(); ++i) lanes[i] = hash64_step(0, i + 1);
  for (; bytes.size() >= 64; bytes = bytes.subspan(64)) {
    for (size_t i = 0; i < lanes.size(); ++i) lanes[i] = hash64_step(lanes[i], word_at(bytes.data() + 8 * i));
  }
  std::array<std::byte, 64> last{};
  std::copy(bytes.begin(), bytes.end(), last.begin());
  uint64_t hash = hash64_step(0, length);
  for (size_t i = 0; i < lanes.size(); ++i)
    hash = hash64_step(hash, hash64_step(lanes[i], word_at(last.data() + 8 * i)));
  return hash;
}

}  // namespace fulcrum
