#include "policy/text/added_tokens.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "policy/text/unicode.h"

namespace fulcrum {
namespace {

// The last code point before `at`, found by stepping back over continuation bytes.
char32_t point_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  const Utf8Char c = first_char(text.substr(begin, at - begin));
  return c.length == at - begin ? c.point : kMalformed;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || !is_word_char(point_before(text, begin))) &&
         (end == text.size() || !is_word_char(first_char(text.substr(end)).point));
}

size_t before_spaces(std::string_view text, size_t floor, size_t at) {
  while (at > floor) {
    const char32_t c = point_before(text, at);
    if (!is_space(class_of(c))) break;
    at -= to_utf8(c).size();
  }
  return at;
}

size_t after_spaces(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Char c = first_char(text.substr(at));
    if (!is_space(class_of(c.point))) break;
    at += c.length;
  }
  return at;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    if (content.empty()) continue;
    by_content_.emplace(content, i);
    auto& lengths = lengths_[static_cast<unsigned char>(content[0])];
    const auto place = std::lower_bound(lengths.begin(), lengths.end(), content.size(), std::greater<>());
    if (place == lengths.end() || *place != content.size()) lengths.insert(place, content.size());
  }
}

const AddedToken* AddedTokenMatcher::longest_at(std::string_view text, size_t at) const {
  for (const size_t length : lengths_[static_cast<unsigned char>(text[at])]) {
    if (length > text.size() - at) continue;
    const auto hit = by_content_.find(text.substr(at, length));
    if (hit == by_content_.end()) continue;
    const AddedToken& token = tokens_[hit->second];
    if (!token.single_word || stands_alone(text, at, at + length)) return &token;
  }
  return nullptr;
}

std::vector<AddedTokenMatcher::Section> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<Section> sections;
  size_t plain = 0;  // where the plain text since the last token begins
  if (!by_content_.empty()) {
    for (size_t i = 0; i < text.size();) {
      const AddedToken* token = longest_at(text, i);
      if (token == nullptr) {
        ++i;
        continue;
      }
      const size_t begin = token->lstrip ? before_spaces(text, plain, i) : i;
      const size_t end = i + token->content.size();
      if (begin > plain) sections.push_back({text.substr(plain, begin - plain)});
      sections.push_back({text.substr(i, token->content.size()), token->id});
      i = plain = token->rstrip ? after_spaces(text, end) : end;
    }
  }
  if (plain < text.size()) sections.push_back({text.substr(plain)});
  return sections;
}

}  // namespace fulcrum
