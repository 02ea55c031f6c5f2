// Where LibTorch's exceptions become Status: the seams around a forward pass, a learner's step, the making of
// a model.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>
#include <utility>

#include "engine/core/status.h"
#include "engine/core/text.h"

namespace fulcrum {

// run() and its Status or Result; an exception is kInternal "<what>: <torch's message>".
template <class Run>
auto catch_torch(const std::string& what, Run&& run) -> decltype(run()) {
  try {
    return std::forward<Run>(run)();
  } catch (const c10::Error& e) {
    return internal_error(what + ": " + printable(e.what_without_backtrace()));
  } catch (const std::exception& e) {
    return internal_error(what + ": " + printable(e.what()));
  }
}

}  // namespace fulcrum
