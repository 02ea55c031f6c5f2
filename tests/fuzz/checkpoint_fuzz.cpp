// The two files of a checkpoint store that are read back: MANIFEST.json and BEST. A manifest is tried as it
// came and with its own hash mended, or no mutation would ever get past that.
#include "engine/core/hash.h"
#include "engine/jobs/checkpoint.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

std::string with_own_hash(std::string_view manifest) {
  Result<Json> json = parse_json(manifest);
  if (!json.ok() || !json->is_object()) return std::string(manifest);
  json->erase("sha256");
  (*json)["sha256"] = sha256_hex(dump_json(*json));
  return dump_json(*json, 2) + "\n";
}

void check_manifest(const Scratch& scratch, const CheckpointStore& store, const std::string& text) {
  scratch.put("checkpoint-1/MANIFEST.json", text);
  const Result<Checkpoint> checkpoint = store.info(1);
  (void)good(store.verified(1));
  if (!good(checkpoint)) return;
  for (const auto& [name, facts] : checkpoint->manifest.files) {
    LAW(name.find('\0') == std::string::npos);
    const std::string inside = (scratch.path("checkpoint-1") / name).lexically_normal().string();
    LAW(inside.starts_with(scratch.path("checkpoint-1").string() + "/"));
  }
  LAW(write_manifest(scratch.path("checkpoint-1"), checkpoint->manifest).ok());
  LAW(scratch.get("checkpoint-1/MANIFEST.json") == text);
}

void check(std::string_view input) {
  const auto parts = split_parts(input, 2);
  const Scratch scratch;
  const CheckpointStore store = CheckpointStore::read_only(scratch.path());
  scratch.put("checkpoint-1/model", "abc");
  scratch.put("BEST", parts[1]);
  check_manifest(scratch, store, std::string(parts[0]));
  check_manifest(scratch, store, with_own_hash(parts[0]));
  std::vector<std::string> damaged;
  LAW(good(store.latest_complete(damaged)));
  LAW(good(store.steps()));
  const auto best = store.best();
  if (good(best) && *best) LAW((*best)->step == 1);
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
