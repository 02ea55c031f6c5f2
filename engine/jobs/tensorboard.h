// Event files that TensorBoard reads: records framed with masked CRC-32C, each an Event message encoded by
// hand (it is four fields; field numbers from tensorboard/compat/proto/event.proto and summary.proto). Called
// by RunFolder. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/core/files.h"
#include "engine/core/json.h"
#include "engine/core/status.h"

namespace fulcrum {

// length (u64), masked crc of the length, payload, masked crc of the payload; little endian.
std::string tensorboard_record(std::string_view payload);

class TensorBoardLog {
 public:
  // Begins a new event file in the folder (a run that was resumed has several; TensorBoard reads them in
  // order of their names). Values of earlier files after `last_step` are dropped by TensorBoard: they are
  // done again.
  static Result<TensorBoardLog> open(const Path& folder, int64_t last_step);

  // One scalar for each finite number among the metrics; anything else is left out.
  Status append(int64_t step, const Json& metrics);

  const Path& file() const { return file_; }

 private:
  explicit TensorBoardLog(Path file) : file_(std::move(file)) {}
  Path file_;
};

}  // namespace fulcrum
