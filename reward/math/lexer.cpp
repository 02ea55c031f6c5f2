#include "reward/math/lexer.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "engine/core/text.h"
#include "reward/math/characters.h"

namespace fulcrum {
namespace {

using Names = std::span<const std::string_view>;

bool is_one_of(std::string_view name, Names names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr auto kFunctions =
    std::to_array<std::string_view>({"sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos",
                                     "arctan", "ln", "log", "exp", "frac", "binom"});
constexpr auto kIgnoredCommands = std::to_array<std::string_view>(
    {"left", "right", "bigl", "bigr", "Bigl", "Bigr", "big", "Big", "bigg", "Bigg", "quad", "displaystyle",
     "circ", "degree", "limits", "hfill", "middle"});
constexpr auto kWrappers =
    std::to_array<std::string_view>({"text", "textbf", "textnormal", "textrm", "textit", "mbox", "mathrm",
                                     "operatorname", "rm", "mathbf", "boldsymbol", "mathit"});
constexpr auto kUnits = std::to_array<std::string_view>(
    {"percent", "percentage", "pct",   "degree", "degrees", "dollar",  "dollars", "cents", "cm",
     "mm",      "km",         "meter", "meters", "feet",    "foot",    "ft",      "inch",  "inches",
     "mile",    "miles",      "hour",  "hours",  "minutes", "seconds", "units",   "unit",  "kg",
     "mph",     "square",     "years", "days",   "sec",     "cubic"});
constexpr auto kMatrices =
    std::to_array<std::string_view>({"pmatrix", "bmatrix", "matrix", "smallmatrix", "array"});
// Words and signs with one meaning each: what is written, what it is.
struct Meaning {
  std::string_view written;
  Token::Kind kind;
  std::string_view text;
};
constexpr std::array<Meaning, 40> kCommands{
    {{"cdot", Token::kSymbol, "*"},        {"times", Token::kSymbol, "*"},
     {"ast", Token::kSymbol, "*"},         {"div", Token::kSymbol, "/"},
     {"over", Token::kSymbol, "over"},     {"pm", Token::kSymbol, "pm"},
     {"mp", Token::kSymbol, "mp"},         {"cup", Token::kSymbol, "cup"},
     {"cap", Token::kSymbol, "cap"},       {"lbrace", Token::kSymbol, "\\{"},
     {"rbrace", Token::kSymbol, "\\}"},    {"langle", Token::kSymbol, "("},
     {"rangle", Token::kSymbol, ")"},      {"lbrack", Token::kSymbol, "["},
     {"rbrack", Token::kSymbol, "]"},      {"vert", Token::kSymbol, "|"},
     {"lvert", Token::kSymbol, "|"},       {"rvert", Token::kSymbol, "|"},
     {"mid", Token::kSymbol, "|"},         {"colon", Token::kSymbol, ":"},
     {"le", Token::kRelation, "<="},       {"leq", Token::kRelation, "<="},
     {"leqslant", Token::kRelation, "<="}, {"ge", Token::kRelation, ">="},
     {"geq", Token::kRelation, ">="},      {"geqslant", Token::kRelation, ">="},
     {"lt", Token::kRelation, "<"},        {"gt", Token::kRelation, ">"},
     {"ne", Token::kRelation, "!="},       {"neq", Token::kRelation, "!="},
     {"approx", Token::kRelation, "~"},    {"in", Token::kRelation, "in"},
     {"cfrac", Token::kFunction, "frac"},  {"dfrac", Token::kFunction, "frac"},
     {"tfrac", Token::kFunction, "frac"},  {"dbinom", Token::kFunction, "binom"},
     {"infty", Token::kName, "\\infty"},   {"varnothing", Token::kName, "\\emptyset"},
     {"and", Token::kSeparator, ","},      {"or", Token::kSeparator, ","}}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 20> kUnicode{
    {{"−", "-"},         {"×", "*"},        {"·", "*"},      {"÷", "/"},         {"π", "\\pi "},
     {"√", "\\sqrt "},   {"∞", "\\infty "}, {"≤", "\\le "},  {"≥", "\\ge "},     {"≠", "\\ne "},
     {"≈", "\\approx "}, {"∈", "\\in "},    {"∪", "\\cup "}, {"∩", "\\cap "},    {"±", "\\pm "},
     {"²", "^2"},        {"³", "^3"},       {"°", " "},      {"½", "\\frac12 "}, {"¼", "\\frac14 "}}};

std::string ascii_math(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto* known = static_cast<unsigned char>(text[i]) < 0x80
                            ? kUnicode.end()
                            : std::find_if(kUnicode.begin(), kUnicode.end(), [&](const auto& entry) {
                                return text.substr(i).starts_with(entry.first);
                              });
    if (known == kUnicode.end()) {
      out += text[i++];
    } else {
      out += known->second;
      i += known->first.size();
    }
  }
  return out;
}

class Lexer {
 public:
  Lexer(std::string text, Budget& budget) : text_(std::move(text)), budget_(budget) {
    in_matrix_ = text_.find("\\begin{") != std::string::npos;
  }

  std::optional<std::vector<Token>> run() {
    while (at_ < text_.size() && readable_) {
      if (!budget_.spend()) return std::nullopt;
      next();
    }
    if (!readable_) return std::nullopt;
    push(Token::kEnd, "");
    return std::move(tokens_);
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool looking_at(std::string_view what) const {
    return std::string_view(text_).substr(at_).starts_with(what);
  }
  void push(Token::Kind kind, std::string_view text) {
    if (kind == Token::kSymbol) {
      if (text == "(" || text == "[" || text == "\\{") ++depth_;
      if (text == ")" || text == "]" || text == "\\}") --depth_;
    }
    tokens_.push_back({kind, std::string(text)});
  }

  void next() {
    const char c = peek();
    if (is_decimal_digit(c) || (c == '.' && is_decimal_digit(peek(1)))) return number();
    if (is_letter(c)) return word();
    if (c == '\\') return command();
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '$' || c == '%' || c == '~' || c == '.') {
      ++at_;
      return;
    }
    if (c == ',' || c == ';') {
      push(Token::kSeparator, std::string_view(&c, 1));
    } else if (c == '=' || c == '<' || c == '>' || (c == '!' && peek(1) == '=')) {
      std::string relation(1, c);
      if (peek(1) == '=') relation += '=', ++at_;
      push(Token::kRelation, relation == "==" ? "=" : relation);
    } else if (c == '*') {
      if (peek(1) == '*') ++at_;
      push(Token::kSymbol, at_ > 0 && text_[at_] == '*' && text_[at_ - 1] == '*' ? "^" : "*");
    } else if (std::string_view("()[]{}+-/^_|!:&").find(c) != std::string_view::npos) {
      push(Token::kSymbol, std::string_view(&c, 1));
    } else {
      readable_ = false;
    }
    ++at_;
  }

  bool three_digits_at(size_t at) const {
    for (size_t i = at; i < at + 3; ++i) {
      if (i >= text_.size() || !is_decimal_digit(text_[i])) return false;
    }
    return at + 3 >= text_.size() || !is_decimal_digit(text_[at + 3]);
  }

  // The length of a separator of thousands that stands here: {,}  ,\!  \,  and outside brackets a bare comma.
  size_t thousands_separator() const {
    for (const std::string_view sign : {"{,}", ",\\!", "\\,", "\\!", "\\ "}) {
      if (!looking_at(sign)) continue;
      size_t length = sign.size();
      while (peek(length) == ' ') ++length;
      return three_digits_at(at_ + length) ? length : 0;
    }
    return peek() == ',' && depth_ <= 0 && three_digits_at(at_ + 1) ? 1 : 0;
  }

  void number() {
    std::string digits;
    while (is_decimal_digit(peek())) digits += text_[at_++];
    if (!digits.empty() && digits.size() <= 3) {
      for (size_t length = thousands_separator(); length > 0; length = thousands_separator()) {
        at_ += length;
        digits += text_.substr(at_, 3);
        at_ += 3;
      }
    }
    if (peek() == '.' && is_decimal_digit(peek(1))) {
      digits += text_[at_++];
      while (is_decimal_digit(peek())) digits += text_[at_++];
    }
    push(Token::kNumber, digits);
  }

  bool push_known(std::string_view name) {
    for (const Meaning& m : kCommands) {
      if (m.written == name) {
        push(m.kind, m.text);
        return true;
      }
    }
    if (!is_one_of(name, kFunctions)) return false;
    push(Token::kFunction, name);
    return true;
  }

  bool in_subscript() const {
    size_t n = tokens_.size();
    if (n > 0 && tokens_[n - 1].text == "{") --n;
    return n > 0 && tokens_[n - 1].text == "_";
  }

  // Letters outside a command: known words, units, else a product of variables; four unknown letters are
  // prose.
  void word() {
    const size_t begin = at_;
    while (is_letter(peek())) ++at_;
    const std::string word = text_.substr(begin, at_ - begin);
    if (in_subscript()) {
      push(Token::kName, word);
    } else if (word == "and" || word == "or" || is_one_of(word, kFunctions)) {
      push_known(word);
    } else if (word == "pi" || word == "infinity" || word == "inf") {
      push(Token::kName, word == "pi" ? "pi" : "\\infty");
    } else if (word.size() > 1 && is_one_of(word, kUnits)) {
      drop_power();
    } else if (word.starts_with("or") && word.size() == 3) {
      push(Token::kSeparator, ",");
      push(Token::kName, word.substr(2));
    } else if (word.size() > 3) {
      readable_ = false;
    } else {
      for (const char letter : word) push(Token::kName, std::string_view(&letter, 1));
    }
  }

  // Skips the power of a unit that was dropped: cm^2, \text{ cm}^{2}.
  void drop_power() {
    size_t i = at_;
    while (i < text_.size() && text_[i] == ' ') ++i;
    if (i >= text_.size() || text_[i] != '^') return;
    at_ = i + 1;
    if (peek() == '{') {
      braces();
    } else {
      ++at_;
    }
  }

  // The text of a { } group that stands here (blanks before it allowed).
  std::string braces() {
    while (peek() == ' ') ++at_;
    if (peek() != '{') return {};
    const size_t begin = ++at_;
    int depth = 1;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '{') ++depth;
      if (text_[at_] == '}' && --depth == 0) return text_.substr(begin, at_++ - begin);
    }
    readable_ = false;
    return {};
  }

  void command() {
    const char after = peek(1);
    if (!is_letter(after)) {
      at_ += after == '\0' ? 1 : 2;
      if (after == '{' || after == '}') return push(Token::kSymbol, after == '{' ? "\\{" : "\\}");
      if (after == '|') return push(Token::kSymbol, "|");
      // Outside a matrix a doubled backslash is an escaped one: \\frac is \frac.
      if (after == '\\') {
        if (in_matrix_)
          push(Token::kSymbol, "\\\\");
        else if (is_letter(peek()))
          --at_;
      }
      return;
    }
    size_t end = at_ + 1;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    const std::string name = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end;
    if (name == "begin" || name == "end") return environment(name);
    if (is_one_of(name, kWrappers)) return wrapped();
    if (name == "boxed" || name == "fbox" || name == "qquad" || is_one_of(name, kIgnoredCommands)) return;
    if (name == "and" || name == "or") return push(Token::kName, "\\" + name);
    if (name == "pi") return push(Token::kName, "pi");
    if (!push_known(name)) push(Token::kName, "\\" + name);
  }

  void environment(const std::string& edge) {
    const std::string name = braces();
    if (!is_one_of(name, kMatrices)) readable_ = false;
    if (edge == "begin" && name == "array") braces();
    push(Token::kMatrix, edge);
  }

  // \text{...}: a connective, a single letter or a function is meant; anything else is a unit or a remark.
  void wrapped() {
    const std::string inside = braces();
    const std::string_view content = trim(inside);
    if (content == "and" || content == "or" || content == ",") return push(Token::kSeparator, ",");
    if (content.size() == 1 && is_letter(content[0])) return push(Token::kName, content);
    if (is_one_of(content, kFunctions)) return push(Token::kFunction, content);
    if (!content.empty() && std::all_of(content.begin(), content.end(), is_decimal_digit)) {
      return push(Token::kNumber, content);
    }
    drop_power();
  }

  std::string text_;
  Budget& budget_;
  size_t at_ = 0;
  int depth_ = 0;  // of brackets, without LaTeX's own braces
  bool in_matrix_ = false;
  bool readable_ = true;
  std::vector<Token> tokens_;
};

// A degree mark is a power to throw away: 90^\circ, 90^{\circ}.
void drop_degrees(std::string& text) {
  for (const std::string_view mark : {"^\\circ", "^{\\circ}", "^ \\circ", "^{ \\circ }"}) {
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at))
      text.erase(at, mark.size());
  }
}

}  // namespace

std::optional<std::vector<Token>> lex_math(std::string_view text, Budget& budget) {
  if (text.size() > kMaxMathText) return std::nullopt;
  std::string plain = ascii_math(text);
  drop_degrees(plain);
  return Lexer(std::move(plain), budget).run();
}

}  // namespace fulcrum
