// Where LibTorch's exceptions become Status: the seams around a forward pass, a learner's step, the making of
// a model.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "engine/core/status.h"
#include "engine/core/text.h"

namespace fulcrum {

// The first sentences of LibTorch's message; the rest is advice for its own users.
inline std::string short_of(const c10::Error& e) {
  const std::string text = e.what_without_backtrace();
  return printable(text.substr(0, text.find(". If reserved")));
}

// run() and its Status or Result; an exception is kInternal "<what>: <torch's message>", or
// kResourceExhausted where it is memory that is missing.
template <class Run>
auto catch_torch(const std::string& what, Run&& run) -> decltype(run()) {
  try {
    return std::forward<Run>(run)();
  } catch (const c10::OutOfMemoryError& e) {
    return resource_exhausted(what + ": the device's memory is not enough: " + short_of(e));
  } catch (const std::bad_alloc&) {
    return resource_exhausted(what + ": memory is not enough");
  } catch (const c10::Error& e) {
    return internal_error(what + ": " + printable(e.what_without_backtrace()));
  } catch (const std::exception& e) {
    return internal_error(what + ": " + printable(e.what()));
  }
}

}  // namespace fulcrum
