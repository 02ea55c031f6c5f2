// The types a model generates in, under the names that job files and flags have for them. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/weights/tensor.h"

namespace fulcrum {

inline std::vector<std::string> decode_dtype_names() { return {"float32", "bfloat16"}; }

// Of a name that was checked against decode_dtype_names().
inline DType decode_dtype(std::string_view name) { return name == "bfloat16" ? DType::kBF16 : DType::kF32; }

}  // namespace fulcrum
