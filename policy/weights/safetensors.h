// The safetensors format: 8 bytes of header length, a JSON header (name -> dtype, shape, data_offsets), then
// the bytes of all tensors without holes or overlaps. Files are untrusted: every number of the header is
// checked before it is used. Called by the model folder reader and writer, checkpoints and the optimizer
// state. Pure functions, thread-safe.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>

#include "engine/core/files.h"
#include "engine/core/status.h"
#include "policy/weights/tensor.h"

namespace fulcrum {

// A header above this size is refused: about 300,000 tensors, and parsing it stays within a few hundred MiB.
inline constexpr uint64_t kMaxSafetensorsHeader = uint64_t{32} << 20;

struct Safetensors {
  TensorMap tensors;
  std::map<std::string, std::string> metadata;
};

// Maps the file; the views keep the mapping alive and nothing is copied. kNotFound, kInvalidArgument naming
// the file and the tensor.
Result<Safetensors> read_safetensors(const Path& path);

// The same over bytes in memory, which `owner` keeps alive.
Result<Safetensors> parse_safetensors(std::span<const std::byte> file,
                                      const std::shared_ptr<const void>& owner);

// Writes atomically and durably (write_file_atomic), wide types first and then by name, as the reference
// writer does: equal maps give equal bytes.
Status write_safetensors(const Path& path, const TensorMap& tensors,
                         const std::map<std::string, std::string>& metadata = {});

}  // namespace fulcrum
