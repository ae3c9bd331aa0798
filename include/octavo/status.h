// SPDX-License-Identifier: Apache-2.0
// Status and Result<T>: how every fallible Octavo function reports failure.
//
// Nothing in Octavo throws across a module border or aborts on bad input: what comes from files,
// the network, users or memory pressure comes back as a Status whose message says what went wrong,
// where, what was found and what was wanted:
//   "model.safetensors: tensor 'lm_head.weight': shape [32000, 2048], want [32064, 2048]"
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace octavo {

enum class StatusCode {
  kOk = 0,
  kInvalidArgument,     // The caller or the user asked for something that makes no sense.
  kNotFound,            // A file, tensor or name does not exist.
  kDataLoss,            // A file is damaged, truncated or violates its format.
  kUnimplemented,       // Valid, but not supported by this build.
  kResourceExhausted,   // Out of memory, disk or a configured limit.
  kFailedPrecondition,  // The object is in the wrong state for the call.
  kCancelled,           // The user interrupted.
  kIoError,             // The operating system refused (message carries strerror).
  kInternal,            // A bug in Octavo.
};

std::string_view StatusCodeName(StatusCode code);

// An error code with a message, or OK. Cheap to move; OK carries no allocation.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status Ok() { return {}; }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // "invalid argument: <message>", for people.
  std::string ToString() const;

  // Prefixes the message with `context` (file or object name) and ": ". OK stays OK.
  Status WithContext(std::string_view context) &&;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status InvalidArgument(std::string m) { return {StatusCode::kInvalidArgument, std::move(m)}; }
inline Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
inline Status DataLoss(std::string m) { return {StatusCode::kDataLoss, std::move(m)}; }
inline Status Unimplemented(std::string m) { return {StatusCode::kUnimplemented, std::move(m)}; }
inline Status ResourceExhausted(std::string m) {
  return {StatusCode::kResourceExhausted, std::move(m)};
}
inline Status FailedPrecondition(std::string m) {
  return {StatusCode::kFailedPrecondition, std::move(m)};
}
inline Status Cancelled(std::string m) { return {StatusCode::kCancelled, std::move(m)}; }
inline Status IoError(std::string m) { return {StatusCode::kIoError, std::move(m)}; }
inline Status Internal(std::string m) { return {StatusCode::kInternal, std::move(m)}; }

// A T or the Status that explains why there is none. The status is never OK without a value.
template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit by design, as is the next one.
  Result(Status status) : status_(std::move(status)) {
    assert(!status_.ok());
    if (status_.ok()) status_ = Internal("Result built from an OK status");
  }

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }

  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }

  T& value() & { return assert(ok()), *value_; }
  const T& value() const& { return assert(ok()), *value_; }
  T&& value() && { return assert(ok()), *std::move(value_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace octavo

#define OCTAVO_CONCAT_INNER_(a, b) a##b
#define OCTAVO_CONCAT_(a, b) OCTAVO_CONCAT_INNER_(a, b)

// Returns the error of `expr` (a Status) from the enclosing function.
#define OCTAVO_RETURN_IF_ERROR(expr)                   \
  do {                                                 \
    ::octavo::Status octavo_status_ = (expr);          \
    if (!octavo_status_.ok()) return octavo_status_;   \
  } while (false)

// OCTAVO_ASSIGN_OR_RETURN(auto x, F()): x = value of F(), or returns F()'s error.
#define OCTAVO_ASSIGN_OR_RETURN(lhs, expr) \
  OCTAVO_ASSIGN_OR_RETURN_(OCTAVO_CONCAT_(octavo_result_, __LINE__), lhs, expr)
#define OCTAVO_ASSIGN_OR_RETURN_(result, lhs, expr) \
  auto result = (expr);                             \
  if (!result.ok()) return std::move(result).status(); \
  lhs = std::move(result).value()
