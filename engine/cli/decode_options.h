// The options that the verbs which generate share. Called by generate.cpp and eval.cpp.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "policy/decode/decode_dtype.h"

namespace fulcrum::cli {

inline void add_dtype_option(CLI::App& verb, std::string& dtype) {
  verb.add_option("--dtype", dtype,
                  "type that generates; bfloat16 is faster and draws by weights rounded to it")
      ->check(CLI::IsMember(decode_dtype_names()))
      ->capture_default_str();
}

}  // namespace fulcrum::cli
