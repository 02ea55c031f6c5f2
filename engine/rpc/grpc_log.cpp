#include "engine/rpc/grpc_log.h"

#include <grpc/support/log.h>

#include <mutex>
#include <string>

#include "engine/core/log.h"
#include "engine/core/text.h"

namespace fulcrum {

void route_grpc_log() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function(
        [](gpr_log_func_args* line) { log_debug("grpc: " + printable(line->message, 1000)); });
  });
}

}  // namespace fulcrum
