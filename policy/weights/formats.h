// The file formats behind load_model(). Each reader gives a whole Model in HF names and the halves layout of
// rotary embeddings; files are untrusted. Called by load_model.cpp only. Pure functions, thread-safe.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "policy/weights/model_spec.h"

namespace fulcrum {

// config.json with model.safetensors, or with the shards model.safetensors.index.json names.
Result<Model> load_hf_folder(const Path& folder);

// A llama2.c "version 0" checkpoint: seven int32 and float32 arrays.
Result<Model> load_llama2c(const Path& file);

// Rows of a q or k projection from adjacent rotary pairs (2i, 2i+1 of each head) to halves (i, i + head_dim /
// 2). [heads * head_dim, columns], any element size.
TensorView rotary_halves(const TensorView& interleaved, int64_t head_dim);

}  // namespace fulcrum
