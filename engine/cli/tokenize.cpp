// `fulcrum tokenize`: text -> ids, and back with --decode.
#include <cstdio>

#include "engine/cli/rows.h"
#include "engine/cli/terminal_text.h"
#include "engine/cli/verbs.h"
#include "engine/core/text.h"
#include "policy/text/tokenizer.h"

namespace fulcrum::cli {
namespace {

struct Options {
  std::string model, splitter;
  std::optional<std::string> text;
  bool decode = false, no_special = false;
  RowFiles files;
};

// Of a row to decode. An id that the tokenizer lacks would leave no trace in the text.
Result<std::vector<TokenId>> ids_of(const Json& row, const Tokenizer& tokenizer) {
  const auto it = row.find("ids");
  if (it == row.end() || !it->is_array()) return invalid_argument("the row has no list 'ids'");
  std::vector<TokenId> ids;
  for (const Json& id : *it) {
    if (!id.is_number())
      return invalid_argument("'ids' must be token ids, not " + printable(dump_json(id), 40));
    // As unsigned a negative one is beyond every vocabulary; one beyond 64 bits is no integer any more.
    if (!id.is_number_integer() || id.get<uint64_t>() >= static_cast<uint64_t>(tokenizer.vocab_size())) {
      return invalid_argument("the tokenizer has no id " + dump_json(id) + ", only 0 to " +
                              std::to_string(tokenizer.vocab_size() - 1));
    }
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

// What is on the command line as a row: a text, or with --decode a list of ids as it is printed for one.
Result<Json> row_of(const Options& o) {
  if (!o.decode) return Json{{"text", *o.text}};
  Result<Json> list = parse_json(*o.text);
  const char* wanted = "--decode wants ids as a list, [1, 2, 3]";
  if (!list.ok()) return list.status().with_context(wanted);
  if (!list->is_array()) return invalid_argument(std::string(wanted) + ", not " + printable(*o.text, 40));
  return Json{{"ids", *list}};
}

// The same printed for people.
Status one(const Tokenizer& tokenizer, const Options& o) {
  TRY(row, row_of(o));
  if (o.decode) {
    TRY(ids, ids_of(row, tokenizer));
    std::printf("%s\n", terminal_text(tokenizer.decode(ids)).c_str());
    return ok_status();
  }
  TRY(ids, tokenizer.encode(*o.text, !o.no_special));
  std::printf("%s\n", dump_json(Json(ids)).c_str());
  return ok_status();
}

int run(const Options& o) {
  const auto tokenizer = load_tokenizer(o.model, {.splitter = o.splitter});
  if (!tokenizer.ok()) return report(tokenizer.status());
  if (o.text && !o.files.wants_row()) return report(one(**tokenizer, o));
  const auto add = [&](Row& row) -> Status {
    if (o.decode) {
      TRY(ids, ids_of(row.fields, **tokenizer));
      row.added["text"] = (*tokenizer)->decode(ids);
      return ok_status();
    }
    TRY(text, get_text(row.fields, "text"));
    TRY(ids, (*tokenizer)->encode(text, !o.no_special));
    row.added["ids"] = ids;
    return ok_status();
  };
  if (!o.text) return for_each_row(o.files, add);
  const auto row = row_of(o);
  if (!row.ok()) return report(row.status());
  return for_one_row(o.files, *row, [&](std::span<Row> one) { return std::vector{add(one.front())}; });
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  add_verb<Options>(
      app, action, "tokenize", "turn text into token ids, or ids into text", run,
      [](CLI::App& v, Options& o) {
        CLI::Option* text = v.add_option(
            "text", o.text,
            "a text (ids with --decode), printed unless --to or -o asks for a row; without one, JSONL rows "
            "with `text` (or `ids`) are read");
        v.add_option("-m,--model", o.model, "model folder or tokenizer file")->required();
        add_splitter_option(v, o.splitter);
        v.add_flag("--decode", o.decode, "ids to text");
        v.add_flag("--no-special", o.no_special, "the bare text, without BOS");
        add_row_options(v, o.files, text);
      });
}

}  // namespace fulcrum::cli
