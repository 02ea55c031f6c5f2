// load_model(), and what all formats share.
#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/core/text.h"
#include "policy/weights/formats.h"

namespace fulcrum {
TensorView rotary_halves(const TensorView& interleaved, int64_t head_dim) {
  const size_t rows = static_cast<size_t>(interleaved.shape.at(0)), dim = static_cast<size_t>(head_dim),
               half = dim / 2;
  const size_t row_bytes = rows == 0 ? 0 : interleaved.bytes.size() / rows;
  auto owned = std::make_shared<std::vector<std::byte>>(interleaved.bytes.size());
  for (size_t row = 0; row < rows; ++row) {
    const size_t head = row / dim, i = row % dim;
    const size_t from = head * dim + (i < half ? 2 * i : 2 * (i - half) + 1);
    std::copy_n(interleaved.bytes.data() + from * row_bytes, row_bytes, owned->data() + row * row_bytes);
  }
  return {interleaved.dtype, interleaved.shape, *owned, owned};
}

namespace {

// A folder without a config.json, in which a llama2.c checkpoint may lie.
Status no_config(const Path& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".bin" && is_llama2c_checkpoint(it->path())) {
      return not_found("no config.json in " + in_quotes(folder.string()) +
                       "; to use its llama2.c model name the file, " + in_quotes(it->path().string()));
    }
  }
  return not_found("no config.json in " + in_quotes(folder.string()) +
                   "; name a Hugging Face folder or a llama2.c .bin file");
}

}  // namespace

Result<Model> load_model(const Path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return not_found("no model at " + in_quotes(path.string()) +
                     "; name a Hugging Face folder or a llama2.c .bin file");
  }
  if (std::filesystem::is_directory(status)) {
    return std::filesystem::exists(path / "config.json", error) ? load_hf_folder(path) : no_config(path);
  }
  if (path.extension() == ".bin") return load_llama2c(path);
  return invalid_argument(
      in_quotes(path.string()) +
      " is not a model: name a folder with config.json and model.safetensors, or a llama2.c .bin file");
}

}  // namespace fulcrum
