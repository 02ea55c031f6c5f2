#include "engine/jobs/checkpoint.h"

#include <algorithm>
#include <fstream>

#include "engine/core/rng.h"
#include "tests/support/test_data.h"
#include "tests/unit/engine/jobs/jobs_testing.h"

namespace fulcrum {
namespace {

using testing::bytes_of;
using testing::expect_ok;
using testing::TempFolder;
using testing::value_of;

Status fill_with(const Path& folder, const std::string& weights) {
  TRY_DO(write_file_atomic(folder / "model.safetensors", weights));
  TRY_DO(make_folders(folder / "state"));
  return write_file_atomic(folder / "state" / "host.json", "{}");
}

struct CheckpointTest : ::testing::Test {
  CheckpointStore open(int64_t keep_last = 2) {
    Result<CheckpointStore> store =
        CheckpointStore::open(folder.path(), {.keep_last = keep_last, .build = "test"});
    EXPECT_TRUE(store.ok()) << store.status().message();
    return std::move(store).value();
  }
  static Result<Checkpoint> write(CheckpointStore& store, int64_t step,
                                  const std::string& weights = "weights") {
    return store.write(step, {{"loss", 0.5}}, [&](const Path& path) { return fill_with(path, weights); });
  }
  static std::optional<int64_t> latest(const CheckpointStore& store,
                                       std::vector<std::string>* told = nullptr) {
    std::vector<std::string> damaged;
    const auto found = value_of(store.latest_complete(damaged));
    if (told != nullptr) *told = damaged;
    return found ? std::optional(found->manifest.step) : std::nullopt;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      all.push_back(entry.path().filename().string());
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  TempFolder folder;
};

TEST_F(CheckpointTest, IsAFolderWithEveryFileAndItsHashInTheManifest) {
  CheckpointStore store = open();
  const Checkpoint written = value_of(write(store, 100));
  EXPECT_EQ(written.folder, folder.path() / "checkpoint-100");
  EXPECT_EQ(bytes_of(written.folder / "model.safetensors"), "weights");
  EXPECT_EQ(written.manifest.step, 100);
  EXPECT_EQ(written.manifest.build, "test");
  EXPECT_EQ(written.manifest.facts, (Json{{"loss", 0.5}}));
  EXPECT_EQ(written.manifest.bytes(), 9u);
  ASSERT_EQ(written.manifest.files.size(), 2u);
  EXPECT_EQ(written.manifest.files.at("state/host.json").size, 2u);
  EXPECT_EQ(written.manifest.files.at("model.safetensors").sha256,
            "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c");
  EXPECT_EQ(names(), std::vector<std::string>{"checkpoint-100"});
}

TEST_F(CheckpointTest, AnEmptyStoreHasNoLatest) {
  EXPECT_EQ(latest(open()), std::nullopt);
  EXPECT_EQ(latest(CheckpointStore::read_only(folder.path() / "nowhere")), std::nullopt);
}

TEST_F(CheckpointTest, KeepsTheLastNAndTheBest) {
  CheckpointStore store = open(2);
  expect_ok(write(store, 1).status());
  expect_ok(store.mark_best({1, "eval/pass@1", 0.75}));
  for (int64_t s = 2; s <= 6; ++s) expect_ok(write(store, s).status());
  EXPECT_EQ(value_of(store.steps()), (std::vector<int64_t>{1, 5, 6}));
  const auto best = value_of(store.best());
  ASSERT_TRUE(best.has_value());
  EXPECT_EQ(best->step, 1);
  EXPECT_EQ(best->metric, "eval/pass@1");
  EXPECT_EQ(best->value, 0.75);
  expect_ok(store.mark_best({6, "eval/pass@1", 0.8}));
  EXPECT_EQ(value_of(store.steps()), (std::vector<int64_t>{5, 6}));  // the former best goes at once
  expect_ok(write(store, 7).status());
  EXPECT_EQ(value_of(store.steps()), (std::vector<int64_t>{6, 7}));
}

TEST_F(CheckpointTest, OnlyAWholeCheckpointCanBeMarkedBest) {
  CheckpointStore store = open();
  EXPECT_EQ(store.mark_best({9, "m", 1}).code(), Code::kNotFound);
  EXPECT_FALSE(value_of(store.best()).has_value());
}

TEST_F(CheckpointTest, TheOneBeforeStaysUntilTheNewOneIsReadBack) {
  CheckpointStore store = open(1);
  expect_ok(write(store, 1).status());
  const auto failed = store.write(2, {}, [&](const Path& path) {
    EXPECT_TRUE(std::filesystem::exists(folder.path() / "checkpoint-1" / "MANIFEST.json"));
    (void)fill_with(path, "half");
    return unavailable("interrupted");
  });
  EXPECT_EQ(failed.status().code(), Code::kUnavailable);
  EXPECT_EQ(names(), std::vector<std::string>{"checkpoint-1"}) << "nothing is left of the failed one";
  EXPECT_EQ(latest(store), 1);
  expect_ok(write(store, 2).status());
  EXPECT_EQ(names(), std::vector<std::string>{"checkpoint-2"});
}

TEST_F(CheckpointTest, AFullDiskIsResourceExhaustedAndTheLastGoodOneStays) {
  CheckpointStore store = open(1);
  expect_ok(write(store, 1).status());
  const auto failed = store.write(2, {}, [](const Path& path) {
    std::filesystem::create_symlink("/dev/full", path / "model.safetensors");
    return append_file(path / "model.safetensors", "weights");
  });
  EXPECT_EQ(failed.status().code(), Code::kResourceExhausted) << failed.status().message();
  EXPECT_EQ(names(), std::vector<std::string>{"checkpoint-1"});
  EXPECT_EQ(latest(store), 1);
}

TEST_F(CheckpointTest, TheSameStepWrittenAgainReplacesTheFirst) {
  CheckpointStore store = open();
  expect_ok(write(store, 5, "old").status());
  expect_ok(write(store, 5, "new").status());
  EXPECT_EQ(bytes_of(folder.path() / "checkpoint-5" / "model.safetensors"), "new");
  EXPECT_EQ(names(), std::vector<std::string>{"checkpoint-5"});
}

TEST_F(CheckpointTest, AnAbandonedFutureGoesWhenTheNewHistoryIsWritten) {
  CheckpointStore store = open(2);
  for (const int64_t s : {10, 20}) expect_ok(write(store, s).status());
  expect_ok(write(store, 15).status());  // resumed from 10
  EXPECT_EQ(latest(store), 15);
  EXPECT_EQ(value_of(store.steps()), (std::vector<int64_t>{10, 15}));
}

TEST_F(CheckpointTest, WhatAKilledWriterLeftIsClearedOrPutBack) {
  {
    CheckpointStore store = open();
    expect_ok(write(store, 1).status());
  }
  namespace fs = std::filesystem;
  expect_ok(make_folders(folder.path() / ".new-2"));
  expect_ok(make_folders(folder.path() / ".going-0"));
  fs::rename(folder.path() / "checkpoint-1", folder.path() / ".replaced-1");  // between the two renames
  EXPECT_EQ(latest(CheckpointStore::read_only(folder.path())), std::nullopt) << "a reader changes nothing";
  EXPECT_EQ(latest(open()), 1);
  EXPECT_EQ(names(), std::vector<std::string>{"checkpoint-1"});
}

TEST_F(CheckpointTest, EveryFlippedBitIsSeenAndThePreviousOneIsUsed) {
  CheckpointStore store = open();
  expect_ok(write(store, 1).status());
  expect_ok(write(store, 2).status());
  Rng rng(7, Purpose::kTest);
  for (const char* name : {"model.safetensors", "state/host.json", "MANIFEST.json"}) {
    const Path file = folder.path() / "checkpoint-2" / name;
    const std::string good = bytes_of(file);
    for (int i = 0; i < 150; ++i) {
      std::string bad = good;
      bad[rng.below(bad.size())] ^= static_cast<char>(1 << rng.below(8));
      std::ofstream(file, std::ios::binary) << bad;
      std::vector<std::string> told;
      ASSERT_EQ(latest(store, &told), 1) << name << " became " << bad;
      ASSERT_EQ(told.size(), 1u);
      EXPECT_NE(told[0].find("checkpoint of step 2 is passed over"), std::string::npos);
    }
    std::ofstream(file, std::ios::binary) << good;
    EXPECT_EQ(latest(store), 2);
  }
}

TEST_F(CheckpointTest, EveryTruncationMissingSwappedOrMovedFileIsSeen) {
  CheckpointStore store = open();
  expect_ok(write(store, 1).status());
  expect_ok(write(store, 2).status());
  const Path at = folder.path() / "checkpoint-2";
  for (const char* name : {"model.safetensors", "state/host.json", "MANIFEST.json"}) {
    const std::string good = bytes_of(at / name);
    for (size_t n = 0; n < good.size(); ++n) {
      std::ofstream(at / name, std::ios::binary) << good.substr(0, n);
      ASSERT_EQ(latest(store), 1) << name << " cut to " << n;
    }
    std::filesystem::remove(at / name);
    EXPECT_EQ(latest(store), 1) << name << " gone";
    std::ofstream(at / name, std::ios::binary) << good;
  }
  std::filesystem::rename(at / "model.safetensors", at / "x");
  std::filesystem::rename(at / "state/host.json", at / "model.safetensors");
  std::filesystem::rename(at / "x", at / "state/host.json");
  EXPECT_EQ(latest(store), 1) << "two files swapped";
  std::filesystem::rename(folder.path() / "checkpoint-1", folder.path() / "checkpoint-3");
  EXPECT_EQ(latest(store), std::nullopt) << "a manifest of another step";
}

TEST_F(CheckpointTest, AMissingStepIsNotFoundAndThoseThereAreNamed) {
  CheckpointStore store = open();
  expect_ok(write(store, 4).status());
  expect_ok(write(store, 8).status());
  const Status status = store.info(5).status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_NE(status.message().find("there are 4, 8"), std::string::npos) << status.message();
  EXPECT_EQ(store.verified(8)->manifest.step, 8);
}

TEST_F(CheckpointTest, LinksAndOwnManifestsAreRefused) {
  CheckpointStore store = open();
  const auto link = store.write(1, {}, [](const Path& path) {
    std::filesystem::create_symlink("/etc/hostname", path / "model.safetensors");
    return ok_status();
  });
  EXPECT_EQ(link.status().code(), Code::kInvalidArgument);
  const auto own =
      store.write(1, {}, [](const Path& path) { return write_file_atomic(path / "MANIFEST.json", "{}"); });
  EXPECT_EQ(own.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(CheckpointStore::open(folder.path(), {.keep_last = 0}).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace fulcrum
