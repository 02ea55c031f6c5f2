#include "engine/jobs/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "engine/core/text.h"
#include "engine/jobs/event.h"

namespace fulcrum {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kNew = ".new-";            // being filled
constexpr std::string_view kReplaced = ".replaced-";  // stood where a new one of the same step is being put
constexpr std::string_view kGoing = ".going-";        // being removed
constexpr std::string_view kBest = "BEST";

std::optional<int64_t> step_after(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  int64_t step = 0;
  std::from_chars(name.data(), name.data() + name.size(), step);
  if (step < 0 || std::to_string(step) != name) return std::nullopt;  // only names this store writes
  return step;
}

Status remove_tree(const Path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  return error ? from_errno(error.value(), "cannot remove", path) : ok_status();
}

Result<std::vector<std::string>> names_in(const Path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::end(it); it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return from_errno(error.value(), "cannot read folder", folder);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Path CheckpointStore::hidden(std::string_view kind, int64_t step) const {
  return folder_ / (std::string(kind) + std::to_string(step));
}

Result<CheckpointStore> CheckpointStore::open(const Path& folder, CheckpointOptions options) {
  if (options.keep_last < 1) return invalid_argument("at least one checkpoint must be kept");
  TRY_DO(make_folders(folder));
  CheckpointStore store(folder, std::move(options));
  TRY_DO(store.clear_leftovers());
  return store;
}

Status CheckpointStore::clear_leftovers() const {
  TRY(names, names_in(folder_));
  for (const std::string& name : names) {
    if (step_after(name, kNew) || step_after(name, kGoing)) TRY_DO(remove_tree(folder_ / name));
    // Killed between the two renames of put_in_place: the old one goes back.
    if (const auto step = step_after(name, kReplaced)) {
      if (fs::exists(folder_of(*step))) {
        TRY_DO(remove_tree(folder_ / name));
      } else {
        TRY_DO(rename_durable(folder_ / name, folder_of(*step)));
      }
    }
  }
  return ok_status();
}

Result<Checkpoint> CheckpointStore::write(int64_t step, const Json& facts,
                                          const std::function<Status(const Path&)>& fill) {
  if (step < 0) return invalid_argument("a checkpoint's step must not be negative");
  const Path temporary = hidden(kNew, step);
  TRY_DO(remove_tree(temporary));
  Status status = make_folders(temporary);
  if (status.ok()) status = build(temporary, step, facts, fill);
  if (status.ok()) status = put_in_place(temporary, step);
  if (!status.ok()) {
    (void)remove_tree(temporary);  // the error above is the one to tell
    return status.with_context("checkpoint of step " + std::to_string(step));
  }
  TRY(written, verified(step));
  TRY_DO(remove_old(step));
  return written;
}

Status CheckpointStore::build(const Path& temporary, int64_t step, const Json& facts,
                              const std::function<Status(const Path&)>& fill) const {
  TRY_DO(fill(temporary));
  if (fs::exists(temporary / kManifestName)) {
    return invalid_argument("a checkpoint must not bring its own " + std::string(kManifestName));
  }
  TRY(files, seal_files(temporary));
  return write_manifest(temporary, {step, options_.build, unix_seconds(), facts, std::move(files)});
}

Status CheckpointStore::put_in_place(const Path& temporary, int64_t step) const {
  const Path place = folder_of(step), replaced = hidden(kReplaced, step);
  if (!fs::exists(place)) return rename_durable(temporary, place);
  TRY_DO(rename_durable(place, replaced));
  if (Status status = rename_durable(temporary, place); !status.ok()) {
    (void)rename_durable(replaced, place);
    return status;
  }
  return remove_tree(replaced);
}

Status CheckpointStore::remove_old(int64_t newest) const {
  TRY(marked, best());
  TRY(there, steps());
  int64_t kept = 0;
  for (auto step = there.rbegin(); step != there.rend(); ++step) {
    if (*step > newest) {
      TRY_DO(remove(*step));
    } else if (++kept > options_.keep_last && !(marked && marked->step == *step)) {
      TRY_DO(remove(*step));
    }
  }
  return ok_status();
}

// Renamed first: a checkpoint that is half removed must not look like one that is damaged.
Status CheckpointStore::remove(int64_t step) const {
  const Path going = hidden(kGoing, step);
  TRY_DO(rename_durable(folder_of(step), going));
  return remove_tree(going);
}

Result<std::vector<int64_t>> CheckpointStore::steps() const {
  TRY(names, names_in(folder_));
  std::vector<int64_t> found;
  for (const std::string& name : names) {
    if (const auto step = step_after(name, kPrefix)) found.push_back(*step);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<Checkpoint> CheckpointStore::info(int64_t step) const {
  const Path folder = folder_of(step);
  if (!fs::is_directory(folder)) {
    TRY(there, steps());
    std::vector<std::string> names;
    for (const int64_t s : there) names.push_back(std::to_string(s));
    return not_found("there is no checkpoint of step " + std::to_string(step) + " in " +
                     in_quotes(folder_.string()) +
                     (names.empty() ? "; there are none" : "; there are " + join(names, ", ")));
  }
  TRY(manifest, read_manifest(folder, step));
  return Checkpoint{folder, std::move(manifest)};
}

Result<Checkpoint> CheckpointStore::verified(int64_t step) const {
  TRY(checkpoint, info(step));
  TRY_DO(verify_files(checkpoint.folder, checkpoint.manifest));
  return checkpoint;
}

Result<std::optional<Checkpoint>> CheckpointStore::latest_complete(std::vector<std::string>& damaged) const {
  TRY(there, steps());
  for (auto step = there.rbegin(); step != there.rend(); ++step) {
    Result<Checkpoint> checkpoint = verified(*step);
    if (checkpoint.ok()) return std::optional<Checkpoint>(std::move(checkpoint).value());
    damaged.push_back("checkpoint of step " + std::to_string(*step) +
                      " is passed over: " + checkpoint.status().message());
  }
  return std::optional<Checkpoint>();
}

Status CheckpointStore::mark_best(const BestCheckpoint& best) {
  TRY_DO(info(best.step));
  const Json json{{"step", best.step}, {"metric", best.metric}, {"value", best.value}};
  TRY_DO(write_file_atomic(folder_ / kBest, dump_json(json) + "\n"));
  TRY(there, steps());
  return remove_old(there.back());  // the one that was the best until now
}

Result<std::optional<BestCheckpoint>> CheckpointStore::best() const {
  const Path file = folder_ / kBest;
  const Result<std::string> text = read_file(file, 1 << 16);
  if (!text.ok() && text.status().code() == Code::kNotFound) return std::optional<BestCheckpoint>();
  TRY_DO(text);
  const auto parse = [&]() -> Result<BestCheckpoint> {
    TRY(json, parse_json(*text));
    TRY(step, get_int(json, "step"));
    TRY(metric, get_string(json, "metric"));
    TRY(value, get_double(json, "value"));
    return BestCheckpoint{step, metric, value};
  };
  Result<BestCheckpoint> marked = parse();
  if (!marked.ok()) return data_loss(in_quotes(file.string()) + " is damaged: " + marked.status().message());
  if (!fs::is_directory(folder_of(marked->step))) return std::optional<BestCheckpoint>();
  return std::optional<BestCheckpoint>(std::move(marked).value());
}

}  // namespace fulcrum
