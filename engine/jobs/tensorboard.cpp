#include "engine/jobs/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "engine/core/hash.h"
#include "engine/core/text.h"

namespace fulcrum {
namespace {

constexpr std::string_view kFilePrefix = "events.out.tfevents.";

// Protobuf's wire types.
constexpr uint32_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;
// Field numbers.
constexpr uint32_t kEventWallTime = 1, kEventStep = 2, kEventFileVersion = 3, kEventSummary = 5,
                   kEventSessionLog = 7;
constexpr uint32_t kSummaryValue = 1, kValueTag = 1, kValueSimpleValue = 2, kSessionLogStatus = 1;
constexpr uint64_t kSessionStart = 1;

template <class T>
void put_little_endian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>((value >> (8 * i)) & 0xFF);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, uint32_t field, uint32_t wire_type) {
  put_varint(out, field << 3 | wire_type);
}

void put_number(std::string& out, uint32_t field, uint64_t value) {
  put_key(out, field, kVarint);
  put_varint(out, value);
}

void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event_at(int64_t step) {
  const std::chrono::duration<double> wall = std::chrono::system_clock::now().time_since_epoch();
  std::string event;
  put_key(event, kEventWallTime, kFixed64);
  put_little_endian(event, std::bit_cast<uint64_t>(wall.count()));
  put_number(event, kEventStep, static_cast<uint64_t>(step));
  return event;
}

std::string summary_value(std::string_view tag, float number) {
  std::string value;
  put_bytes(value, kValueTag, to_valid_utf8(tag));
  put_key(value, kValueSimpleValue, kFixed32);
  put_little_endian(value, std::bit_cast<uint32_t>(number));
  return value;
}

// The record format's way of storing a CRC inside data that is itself checked by CRCs.
uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return std::rotr(crc, 15) + 0xA282EAD8u;
}

// TensorBoard reads the files of a folder in the order of their names, so a number that grows comes first.
Path next_file(const Path& folder) {
  uint64_t number = static_cast<uint64_t>(std::time(nullptr));
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    unsigned long long taken = 0;
    if (name.starts_with(kFilePrefix) &&
        std::sscanf(name.c_str() + kFilePrefix.size(), "%10llu", &taken) == 1) {
      number = std::max<uint64_t>(number, taken + 1);
    }
  }
  return folder /
         (std::string(kFilePrefix) + std::to_string(number) + ".fulcrum." + std::to_string(::getpid()));
}

}  // namespace

std::string tensorboard_record(std::string_view payload) {
  std::string record;
  put_little_endian(record, uint64_t{payload.size()});
  put_little_endian(record, masked_crc(record));
  record += payload;
  put_little_endian(record, masked_crc(payload));
  return record;
}

Result<TensorBoardLog> TensorBoardLog::open(const Path& folder, int64_t last_step) {
  TRY_DO(make_folders(folder));
  TensorBoardLog log(next_file(folder));
  std::string version = event_at(0);
  put_bytes(version, kEventFileVersion, "brain.Event:2");
  // From version 2 on, a START drops what earlier files hold at its step and after it.
  std::string start = event_at(last_step + 1), session;
  put_number(session, kSessionLogStatus, kSessionStart);
  put_bytes(start, kEventSessionLog, session);
  TRY_DO(append_file(log.file_, tensorboard_record(version) + tensorboard_record(start)));
  return log;
}

Status TensorBoardLog::append(int64_t step, const Json& metrics) {
  std::string summary;
  for (const auto& item : metrics.items()) {
    if (!item.value().is_number() || item.key() == "step") continue;
    const auto number = static_cast<float>(item.value().get<double>());
    if (std::isfinite(number)) put_bytes(summary, kSummaryValue, summary_value(item.key(), number));
  }
  if (summary.empty()) return ok_status();
  std::string event = event_at(step);
  put_bytes(event, kEventSummary, summary);
  return append_file(file_, tensorboard_record(event));
}

}  // namespace fulcrum
