#include "engine/cli/progress.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace fulcrum::cli {
namespace {

constexpr auto kPlainEvery = std::chrono::seconds(5);
constexpr auto kBarEvery = std::chrono::milliseconds(100);
constexpr int kBarWidth = 24;

std::string duration_text(double s) {
  char text[32];
  const auto whole = static_cast<long long>(s + 0.5);
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  }
  return text;
}

}  // namespace

Progress::Progress(std::string label, bool terminal, const Clock& clock)
    : label_(std::move(label)), terminal_(terminal), clock_(clock), begin_(clock.now()) {}

Progress::~Progress() { finish(); }

std::string Progress::line(const std::string& label, int64_t done, int64_t total, double elapsed,
                           int64_t first, const std::string& note) {
  const double rate = elapsed > 0 ? static_cast<double>(done - first) / elapsed : 0;
  char numbers[96];
  std::snprintf(numbers, sizeof numbers, " %lld/%lld  ", static_cast<long long>(done),
                static_cast<long long>(total));
  std::string text = label + numbers;
  if (rate > 0) {
    std::snprintf(numbers, sizeof numbers, "%.2f steps/s  ", rate);
    text += numbers;
    if (done < total) text += duration_text(static_cast<double>(total - done) / rate) + " left  ";
  }
  if (done >= total) text += "took " + duration_text(elapsed) + "  ";
  return text + note;
}

void Progress::update(int64_t done, int64_t total, const std::string& note) {
  const Instant now = clock_.now();
  if (first_ < 0) first_ = done;
  const bool last = done >= total;
  if (!last && open_ && now - last_ < (terminal_ ? Duration(kBarEvery) : Duration(kPlainEvery))) return;
  last_ = now;
  open_ = true;
  const std::string text = line(label_, done, total, seconds(now - begin_), first_, note);
  if (!terminal_) {
    std::fprintf(stderr, "%s\n", text.c_str());
    return;
  }
  std::string bar;
  for (int i = 0; i < kBarWidth; ++i) bar += i * total < done * kBarWidth ? "█" : "░";
  std::fprintf(stderr, "\r\x1b[K%s %s", bar.c_str(), text.c_str());
  std::fflush(stderr);
}

void Progress::finish() {
  if (terminal_ && open_) std::fputc('\n', stderr);
  open_ = false;
}

bool stderr_is_terminal() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

std::string metrics_note(const Metrics& metrics) {
  std::string out;
  for (const char* name :
       {"loss", "reward", "eval_reward", "rewards/accuracies", "kl", "completions/mean_length"}) {
    const auto it = metrics.find(name);
    if (it == metrics.end()) continue;
    char text[80];
    std::snprintf(text, sizeof text, "%s%s %.4g", out.empty() ? "" : "  ", name, it->second.mean());
    out += text;
  }
  return out;
}

}  // namespace fulcrum::cli
