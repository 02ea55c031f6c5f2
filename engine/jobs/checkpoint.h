// Checkpoints: folders checkpoint-<step> that are there whole or not at all. A new one is filled in a hidden
// folder, sealed by its manifest, made durable, renamed into place and read back; only then older ones go.
// Called by the pipeline's journal and by `fulcrum checkpoint`. One writer (the holder of the run folder);
// readers at any time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/core/status.h"
#include "engine/jobs/manifest.h"

namespace fulcrum {

struct Checkpoint {
  Path folder;
  Manifest manifest;
};

struct BestCheckpoint {
  int64_t step = 0;
  std::string metric;  // "eval/pass@1"
  double value = 0;
};

struct CheckpointOptions {
  int64_t keep_last = 2;  // at least 1; the best one is kept besides
  std::string build;      // written into every manifest
};

class CheckpointStore {
 public:
  // For a writer: makes the folder and clears what a killed writer left half done.
  static Result<CheckpointStore> open(const Path& folder, CheckpointOptions options);
  // For a reader: changes nothing on the disk.
  static CheckpointStore read_only(const Path& folder) { return CheckpointStore(folder, {}); }

  // `fill` writes the files (subfolders allowed) into the empty folder it is given. Returns after the
  // checkpoint was read back whole and older ones beyond keep_last were removed; those of later steps belong
  // to a history that was abandoned and go too. On any error what was there before stays. kResourceExhausted:
  // the disk is full.
  Result<Checkpoint> write(int64_t step, const Json& facts, const std::function<Status(const Path&)>& fill);

  // The newest checkpoint that is whole (all hashes verified), or none. What had to be passed over is told in
  // `damaged`, one line each.
  Result<std::optional<Checkpoint>> latest_complete(std::vector<std::string>& damaged) const;

  // Manifest only / with all hashes. kNotFound: no such checkpoint (those there are named); kDataLoss:
  // damaged.
  Result<Checkpoint> info(int64_t step) const;
  Result<Checkpoint> verified(int64_t step) const;

  // Steps there are, oldest first, damaged ones too.
  Result<std::vector<int64_t>> steps() const;

  // The marker file BEST; the step it names is never removed by write(). kNotFound if there is no such
  // checkpoint.
  Status mark_best(const BestCheckpoint& best);
  // nullopt if nothing is marked or the marked checkpoint is gone.
  Result<std::optional<BestCheckpoint>> best() const;

  Path folder_of(int64_t step) const { return folder_ / ("checkpoint-" + std::to_string(step)); }

 private:
  CheckpointStore(Path folder, CheckpointOptions options)
      : folder_(std::move(folder)), options_(std::move(options)) {}
  Status build(const Path& temporary, int64_t step, const Json& facts,
               const std::function<Status(const Path&)>& fill) const;
  Status put_in_place(const Path& temporary, int64_t step) const;
  Status remove_old(int64_t newest) const;
  Status remove(int64_t step) const;
  Status clear_leftovers() const;
  Path hidden(std::string_view kind, int64_t step) const;

  Path folder_;
  CheckpointOptions options_;
};

}  // namespace fulcrum
