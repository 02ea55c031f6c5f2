// Errors as values: every function that can fail returns Status or Result<T>; nothing throws across a
// module seam. The codes carry gRPC's numbers, so the wire needs no table. Values are immutable and may be
// copied between threads.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace fulcrum {

enum class Code : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// The name users see: "INVALID_ARGUMENT".
std::string_view code_name(Code code);

// The process exit code for an error of this kind; the table stands in docs/errors.md.
int exit_code(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  // One line: what is wrong, where (file, line, key), what to do. Safe to print: untrusted parts are escaped
  // by the function that put them in (engine/core/text.h).
  const std::string& message() const { return message_; }

  // The same error with "context: " before its message; an ok status stays ok.
  Status with_context(std::string_view context) const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

inline Status ok_status() { return {}; }
inline Status invalid_argument(std::string m) { return {Code::kInvalidArgument, std::move(m)}; }
inline Status not_found(std::string m) { return {Code::kNotFound, std::move(m)}; }
inline Status already_exists(std::string m) { return {Code::kAlreadyExists, std::move(m)}; }
inline Status failed_precondition(std::string m) { return {Code::kFailedPrecondition, std::move(m)}; }
inline Status resource_exhausted(std::string m) { return {Code::kResourceExhausted, std::move(m)}; }
inline Status data_loss(std::string m) { return {Code::kDataLoss, std::move(m)}; }
inline Status internal_error(std::string m) { return {Code::kInternal, std::move(m)}; }
inline Status unavailable(std::string m) { return {Code::kUnavailable, std::move(m)}; }
inline Status cancelled(std::string m = "cancelled") { return {Code::kCancelled, std::move(m)}; }
inline Status deadline_exceeded(std::string m) { return {Code::kDeadlineExceeded, std::move(m)}; }

// Either a value or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}        // NOLINT: implicit on purpose
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {  // NOLINT
    if (std::get<1>(state_).ok()) state_.template emplace<1>(Code::kInternal, "an ok Status is not a value");
  }

  bool ok() const { return state_.index() == 0; }
  const T& value() const& { return std::get<0>(state_); }
  T& value() & { return std::get<0>(state_); }
  // By value, so that `for (auto x : f().value())` holds on to what it walks.
  T value() && { return std::get<0>(std::move(state_)); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T operator*() && { return std::move(*this).value(); }

  Status status() const { return ok() ? Status{} : std::get<1>(state_); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace fulcrum

#define FULCRUM_CONCAT_(a, b) a##b
#define FULCRUM_CONCAT(a, b) FULCRUM_CONCAT_(a, b)

// TRY(name, expression): declares `name` from the Result or returns its Status. `auto&&`-free: name is a
// value.
#define TRY(name, ...)                                                                                    \
  auto FULCRUM_CONCAT(try_result_, __LINE__) = (__VA_ARGS__);                                             \
  if (!FULCRUM_CONCAT(try_result_, __LINE__).ok()) return FULCRUM_CONCAT(try_result_, __LINE__).status(); \
  auto name = std::move(FULCRUM_CONCAT(try_result_, __LINE__)).value()

// TRY_DO(expression): returns the Status if it is not ok; for Status and for a Result whose value is not
// wanted.
#define TRY_DO(...)                                                                                    \
  do {                                                                                                 \
    if (auto try_status_ = ::fulcrum::to_status((__VA_ARGS__)); !try_status_.ok()) return try_status_; \
  } while (false)

namespace fulcrum {
inline Status to_status(Status s) { return s; }
template <class T>
Status to_status(const Result<T>& r) {
  return r.status();
}
}  // namespace fulcrum
