// Runs tokens through a DeviceModel: prompts in chunks of rows, then steps of all sequences at once, each
// step a replay of recorded work that also draws the tokens. A place is a sequence's row and slot
// (kernels/device/decode_table.h); the caller fills the host's copies, the steps change the device's, and the
// host sees them when run_steps() returns, which is when the host waits. Called by the generator; one user.
//
// In a round: set_table() and the places of new sequences; begin(); prefill(), copy_page(), draw_first() for
// those; run_steps(). What is passed is read before the call returns.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "engine/core/status.h"
#include "policy/decode/device/device_model.h"
#include "policy/decode/device/device_pages.h"
#include "policy/decode/device/memory.h"
#include "policy/decode/device/options.h"
#include "policy/decode/device/stream.h"
#include "policy/decode/rope_angles.h"

namespace fulcrum {

struct DevicePrompt {
  std::span<const TokenId> ids;
  int32_t table = 0;
};

struct FirstDraw {
  int32_t logits = 0;  // of which prompt of this round; DeviceDecoder::kept_logits(): what was kept
  int32_t place = 0;
};

class DeviceDecoder {
 public:
  static constexpr int64_t kChunkRows = 512;  // of prompts that go through the layers together
  static constexpr int64_t kMostPlaces = 1 << 15;

  struct Size {
    int64_t places = 0;   // sequences at a time, at most kMostPlaces
    int64_t longest = 0;  // positions of the longest
    int64_t pages = 0;    // at most; fewer where memory is short
  };

  // kResourceExhausted: the memory does not hold the workspaces and a page.
  static Result<std::unique_ptr<DeviceDecoder>> create(std::shared_ptr<const DeviceModel> model,
                                                       const DeviceOptions& options, const Size& size);
  ~DeviceDecoder();
  // What create() takes on the device where memory is not short.
  static int64_t bytes(const ModelSpec& spec, DType dtype, const Size& size);

  const DeviceModel& model() const { return *model_; }
  DevicePages& pages() { return *pages_; }
  int64_t places() const { return size_.places; }
  int32_t kept_logits() const { return static_cast<int32_t>(places_room_); }

  // The host's copies.
  kernels::DeviceRow& row(int64_t place) { return host_rows_[place]; }
  kernels::DeviceSlot& slot(int64_t place) { return host_slots_[place]; }

  // A table is as good as a place: there are as many.
  Status set_table(int32_t table, std::span<const int32_t> pages);

  // Sends the host's copies of all places; the first `count` are in use.
  Status begin(int64_t count);
  // Prompt i's logits become those of FirstDraw::logits i. kCancelled when stopped.
  Status prefill(std::span<const DevicePrompt> prompts, const std::stop_token& stop);
  Status copy_page(int32_t from, int32_t to);
  Status draw_first(std::span<const FirstDraw> draws);
  // Keeps a prompt's logits for rounds to come.
  Status keep_logits(int32_t prompt);
  // DeviceOptions::steps tokens for each live row of the first `count` places, then the host's copies are
  // new.
  Status run_steps();

  // Waits; for tests and for what looks at single rows.
  Status read_logits(int32_t row, std::span<float> out);

 private:
  struct Device;  // the device's arrays

  DeviceDecoder(std::shared_ptr<const DeviceModel> model, const DeviceOptions& options, const Size& size);
  Status allocate();
  void place(const void* memory, int64_t* bytes);
  Status upload_angles();
  Status record(int64_t rows);
  int step(int64_t rows);
  int layers(const kernels::DeviceRow* rows, int64_t count, int64_t tiles);
  int norm(const float* x, const float* weight, int64_t rows);
  int multiply(const void* weights, int64_t rows, int64_t inputs, int64_t outputs, float* y, bool add);
  Status prefill_chunk(std::span<const kernels::DeviceRow> rows, std::span<const int64_t> lasts,
                       int64_t first_logits);
  Status look(int error, const char* what) const { return device_status(model_->kernels(), error, what); }

  std::shared_ptr<const DeviceModel> model_;
  DeviceOptions options_;
  Size size_;
  int64_t places_room_;   // places, rounded up to a batch that is recorded
  int64_t table_stride_;  // pages of the longest sequence
  int64_t tiles_;         // of attention, of the longest sequence
  int64_t in_use_ = 0;
  std::unique_ptr<DeviceWork> work_;
  OwnedBytes memory_, host_memory_, prompt_rows_;
  int64_t prompt_rows_room_ = 0;
  std::unique_ptr<Device> device_;
  std::unique_ptr<DevicePages> pages_;
  kernels::DeviceRow* host_rows_ = nullptr;
  kernels::DeviceSlot* host_slots_ = nullptr;
  int32_t* host_tables_ = nullptr;
  int32_t* host_draws_ = nullptr;         // logits rows, then places
  std::map<int64_t, OwnedGraph> graphs_;  // by rows; before work_ goes
};

}  // namespace fulcrum
