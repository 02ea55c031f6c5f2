#include "policy/text/tokenizer_json_steps.h"

#include <utility>

#include "engine/core/text.h"
#include "policy/text/unicode.h"

namespace fulcrum::tokenizer_json {
namespace {

Status not_supported(const char* part, const SortedJson& object) {
  return invalid_argument(std::string(part) + " of type " + in_quotes(text_of(object, "type"), 60) +
                          " is not supported, or not with its options");
}

// Calls `read` with the object, or with each of the objects of a Sequence (whose list is called `list`).
template <class Read>
Status each(const SortedJson& object, const char* list, const Read& read) {
  if (object.is_null()) return ok_status();
  if (text_of(object, "type") != "Sequence") return read(object);
  const SortedJson& items = member(object, list);
  if (!items.is_array()) return invalid_argument(std::string("a Sequence has no list ") + list);
  for (const SortedJson& item : items) TRY_DO(each(item, list, read));
  return ok_status();
}

// {"pattern": {"String": " "}, "content": "_"}
Result<std::pair<std::string, std::string>> replacement(const SortedJson& object, const char* part) {
  std::string from = text_of(member(object, "pattern"), "String");
  if (from.empty() || !member(object, "content").is_string()) return not_supported(part, object);
  return std::pair(std::move(from), text_of(object, "content"));
}

Status read_split(const SortedJson& split, BpeSpec& spec) {
  const std::string regex = text_of(member(split, "pattern"), "Regex");
  const auto splitter = splitter_of_pattern(regex);
  if (!splitter) {
    return invalid_argument("the pre-tokenizer's pattern " +
                            in_quotes(regex.empty() ? split.dump(-1, ' ', true) : regex) +
                            " is not a known one; if it is like one, say which with " + splitter_choice());
  }
  const std::string behavior = text_of(split, "behavior");
  const bool invert = flag(split, "invert", false);
  if (!(behavior == "Isolated" && !invert) && !(behavior == "Removed" && invert)) {
    return not_supported("pre-tokenizer", split);
  }
  spec.splitters.push_back(*splitter);
  return ok_status();
}

Status read_byte_level(const SortedJson& step, BpeSpec& spec) {
  if (flag(step, "add_prefix_space", true)) {
    // Before a later step it would go in front of every piece, not of the text.
    if (!spec.splitters.empty()) return not_supported("pre-tokenizer", step);
    spec.before_split.push_back({TextStep::kPrependUnlessThere, " ", ""});
  }
  if (flag(step, "use_regex", true)) spec.splitters.push_back(Splitter::kGpt2);
  return ok_status();
}

// "always", "first" or "never"; older files have add_prefix_space.
std::string prepend_scheme(const SortedJson& metaspace) {
  const std::string scheme = text_of(metaspace, "prepend_scheme");
  if (!scheme.empty()) return scheme;
  return flag(metaspace, "add_prefix_space", true) ? "always" : "never";
}

Status read_metaspace(const SortedJson& step, BpeSpec& spec) {
  const std::string mark = text_of(step, "replacement"), scheme = prepend_scheme(step);
  if (mark != kSpaceMark) return not_supported("pre-tokenizer", step);
  spec.before_split.push_back({TextStep::kReplace, " ", mark});
  if (scheme == "always") {
    spec.before_split.push_back({TextStep::kPrependUnlessThere, mark, ""});
  } else if (scheme == "first") {
    spec.before_split.push_back({TextStep::kPrependUnlessThereFirst, mark, ""});
  } else if (scheme != "never") {
    return not_supported("pre-tokenizer", step);
  }
  if (flag(step, "split", true)) spec.splitters.push_back(Splitter::kBeforeSpaceMark);
  return ok_status();
}

Status read_template(const SortedJson& processor, BpeSpec& spec) {
  const SortedJson& items = member(processor, "single");
  if (!items.is_array()) return invalid_argument("the template post-processor has no list 'single'");
  bool after_text = false;
  for (const SortedJson& item : items) {
    if (member(item, "Sequence").is_object()) {
      if (after_text) return invalid_argument("the template post-processor has the text twice");
      after_text = true;
      continue;
    }
    const std::string name = text_of(member(item, "SpecialToken"), "id");
    const SortedJson& ids = member(member(member(processor, "special_tokens"), name.c_str()), "ids");
    if (!ids.is_array()) return invalid_argument("the template's token " + in_quotes(name) + " has no ids");
    for (const SortedJson& id : ids) {
      const int64_t value = id.is_number_integer() ? id.get<int64_t>() : -1;
      if (value < 0 || value >= kMaxVocabulary)
        return invalid_argument("the template's token " + in_quotes(name) + " has a wrong id");
      (after_text ? spec.suffix : spec.prefix).push_back(static_cast<TokenId>(value));
    }
  }
  return ok_status();
}

}  // namespace

const SortedJson& member(const SortedJson& object, const char* key) {
  static const SortedJson kNothing;
  if (!object.is_object()) return kNothing;
  const auto it = object.find(key);
  return it == object.end() ? kNothing : *it;
}

std::string text_of(const SortedJson& object, const char* key) {
  const SortedJson& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool flag(const SortedJson& object, const char* key, bool otherwise) {
  const SortedJson& value = member(object, key);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

bool is_byte_level(const SortedJson& pre_tokenizer) {
  bool found = false;
  (void)each(pre_tokenizer, "pretokenizers", [&](const SortedJson& step) {
    found = found || text_of(step, "type") == "ByteLevel";
    return ok_status();
  });
  return found;
}

Status read_normalizer(const SortedJson& normalizer, BpeSpec& spec) {
  return each(normalizer, "normalizers", [&](const SortedJson& step) -> Status {
    const std::string type = text_of(step, "type");
    if (type == "NFC") {
      spec.normalizer.push_back({.kind = TextStep::kNfc});
    } else if (type == "Prepend") {
      spec.normalizer.push_back({TextStep::kPrepend, text_of(step, "prepend"), ""});
    } else if (type == "Replace") {
      TRY(pair, replacement(step, "normalizer"));
      spec.normalizer.push_back({TextStep::kReplace, pair.first, pair.second});
    } else {
      return not_supported("normalizer", step);
    }
    return ok_status();
  });
}

Status read_pre_tokenizer(const SortedJson& pre_tokenizer, std::optional<Splitter> splitter, BpeSpec& spec) {
  if (splitter) {
    if (!spec.byte_level) return splitter_not_used();
    spec.splitters = {*splitter};
    return ok_status();
  }
  return each(pre_tokenizer, "pretokenizers", [&](const SortedJson& step) -> Status {
    const std::string type = text_of(step, "type");
    if (type == "Split") return read_split(step, spec);
    if (type == "ByteLevel") return read_byte_level(step, spec);
    if (type == "Metaspace") return read_metaspace(step, spec);
    if (type != "Digits") return not_supported("pre-tokenizer", step);
    spec.splitters.push_back(flag(step, "individual_digits", false) ? Splitter::kSingleDigits
                                                                    : Splitter::kDigitRuns);
    return ok_status();
  });
}

Status read_decoder(const SortedJson& decoder, BpeSpec& spec) {
  if (decoder.is_null()) return invalid_argument("a tokenizer without a decoder is not supported");
  bool fused = false;
  return each(decoder, "decoders", [&](const SortedJson& step) -> Status {
    const std::string type = text_of(step, "type");
    if (type == "ByteLevel" ? spec.byte_level : type == "ByteFallback" && !spec.byte_level)
      return ok_status();
    if (type == "Fuse") {
      fused = true;
    } else if (type == "Replace" && !fused) {
      TRY(pair, replacement(step, "decoder"));
      spec.decode_replace.push_back(std::move(pair));
    } else if (type == "Metaspace") {
      spec.decode_replace.emplace_back(kSpaceMark, " ");
      spec.strip_leading_space = prepend_scheme(step) != "never";
    } else if (type == "Strip" && fused && text_of(step, "content") == " " && member(step, "stop") == 0 &&
               (member(step, "start") == 0 || member(step, "start") == 1)) {
      spec.strip_leading_space = member(step, "start") == 1;
    } else {
      return not_supported("decoder", step);
    }
    return ok_status();
  });
}

Status read_post_processor(const SortedJson& processor, BpeSpec& spec, bool& has_template) {
  return each(processor, "processors", [&](const SortedJson& step) -> Status {
    const std::string type = text_of(step, "type");
    if (type == "ByteLevel") return ok_status();  // only about offsets
    if (type != "TemplateProcessing") return not_supported("post-processor", step);
    has_template = true;
    return read_template(step, spec);
  });
}

}  // namespace fulcrum::tokenizer_json
