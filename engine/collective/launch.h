// How the ranks of a data-parallel run were started: torchrun's environment variables, and those of no
// other launcher (docs/data_parallel.md has the line for Slurm). Called by the programs' verbs. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/core/status.h"

namespace fulcrum {

struct Launch {
  std::string master_addr;  // of rank 0
  int64_t master_port = 0;
  int64_t rank = 0;
  int64_t size = 1;
  // torchrun keeps the store at master_addr itself, for one group after the other.
  bool launcher_store = false;
  int64_t restarts = 0;  // how often torchrun has started the ranks again
};

// A variable's value; null where it is not set.
using Environment = std::function<const char*(const char* name)>;

// MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE; without WORLD_SIZE, or with 1, one process. kInvalidArgument
// naming the variable that is missing or wrong.
Result<Launch> read_launch(const Environment& environment);

}  // namespace fulcrum
