#include "engine/cli/terminal_text.h"

#include <gtest/gtest.h>

namespace fulcrum::cli {
namespace {

TEST(TerminalText, KeepsLinesTabsAndLanguages) {
  for (const char* text : {"", "\n", "a\tb\n\nc", "naïve 日本 \xF0\x9F\x99\x82\n"})
    EXPECT_EQ(terminal_text(text), text);
}

TEST(TerminalText, EscapesWhatCouldDriveATerminal) {
  EXPECT_EQ(terminal_text("a\x1b[2J\nb"), "a\\x1B[2J\nb");
  EXPECT_EQ(terminal_text("\x7f\xC2\x9B"
                          "31m"),
            "\\x7F\\u{9B}31m");  // a C1 control is one character of UTF-8
  EXPECT_EQ(terminal_text("\xE2\x80\xAE\xFF\r"), "\\u{202E}\\xFF\\r");
}

}  // namespace
}  // namespace fulcrum::cli
