#include <algorithm>
#include <array>

#include "policy/text/tokenizer.h"
#include "policy/text/unicode.h"

namespace fulcrum {
namespace {

// How many bytes at the end begin a UTF-8 sequence that more bytes could complete.
size_t unfinished_tail(std::string_view bytes) {
  for (size_t n = 1; n <= std::min<size_t>(3, bytes.size()); ++n) {
    const std::string_view tail = bytes.substr(bytes.size() - n);
    const auto lead = static_cast<unsigned char>(tail[0]);
    if ((lead & 0xC0) == 0x80) continue;  // a continuation byte: the lead is further to the left
    const size_t wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return n < wanted && lead <= 0xF4 ? n : 0;
  }
  return 0;
}

}  // namespace

std::string IncrementalDecoder::push(TokenId id) {
  if (tokenizer_.is_special(id)) return {};
  // What an id adds depends on the ids before it only by whether there is text yet, so the last one with text
  // is context enough.
  const size_t known = tokenizer_.decode(context_).size();
  context_.push_back(id);
  held_ += tokenizer_.decode(context_).substr(known);
  const std::array<TokenId, 1> alone{id};
  if (!tokenizer_.decode(alone).empty()) {
    context_.assign(1, id);
  } else if (known > 0) {
    context_.pop_back();
  }
  const size_t ready = held_.size() - unfinished_tail(held_);
  std::string piece = held_.substr(0, ready);
  held_.erase(0, ready);
  return piece;
}

std::string IncrementalDecoder::finish() {
  std::string rest;
  rest.swap(held_);
  context_.clear();
  return rest;
}

}  // namespace fulcrum
