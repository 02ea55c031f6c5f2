#include "engine/cli/plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/core/text.h"

namespace fulcrum::cli {
namespace {

// Attributes of a tag's inside: name='value', values without markup. "" or what is wrong.
std::string check_attributes(std::string_view inside) {
  while (!(inside = trim(inside)).empty()) {
    const size_t quote = inside.find("='");
    if (quote == std::string_view::npos) return "no attribute: " + std::string(inside);
    const size_t end = inside.find('\'', quote + 2);
    if (end == std::string_view::npos) return "an open attribute: " + std::string(inside);
    if (inside.substr(0, end).find_first_of("<>\" \n", 0) < quote) return "a bad attribute name";
    inside.remove_prefix(end + 1);
  }
  return "";
}

// The part of XML that to_svg() writes: tags that nest, attributes in apostrophes, the five entities, and no
// control characters. "" or the first thing that is wrong.
std::string malformed(std::string_view xml) {
  if (!is_valid_utf8(xml)) return "not UTF-8";
  std::vector<std::string> open;
  for (size_t i = 0; i < xml.size(); ++i) {
    if (static_cast<unsigned char>(xml[i]) < 0x20 && xml[i] != '\n') return "a control character";
    if (xml[i] == '>') return "a loose >";
    if (xml[i] == '&') {
      const std::string_view entity = xml.substr(i, xml.substr(i).find(';') + 1);
      if (entity != "&lt;" && entity != "&gt;" && entity != "&amp;" && entity != "&apos;")
        return "an unknown entity";
    }
    if (xml[i] != '<') continue;
    const size_t end = xml.find('>', i);
    if (end == std::string_view::npos) return "an open tag";
    std::string_view tag = xml.substr(i + 1, end - i - 1);
    i = end;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return "a wrong end: " + std::string(tag);
      open.pop_back();
      continue;
    }
    const bool alone = tag.ends_with('/');
    if (alone) tag.remove_suffix(1);
    const std::string name(tag.substr(0, tag.find(' ')));
    if (std::string wrong = check_attributes(tag.substr(name.size())); !wrong.empty()) return wrong;
    if (!alone) open.push_back(name);
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

Chart pass_at_k() {
  Chart c{.title = "pass@k", .x_label = "k", .y_label = "pass@k", .log2_x = true};
  c.curves.push_back({.name = "start",
                      .colour = "#888888",
                      .x = {1, 4, 16},
                      .y = {0.2, 0.5, 0.8},
                      .low = {0.1, 0.4, 0.7},
                      .high = {0.3, 0.6, 0.9}});
  c.curves.push_back({.name = "grpo", .colour = "#cc0000", .x = {1, 4, 16}, .y = {0.5, 0.6, 0.7}});
  return c;
}

TEST(Plot, IsWellFormedXmlWithACurveABandAndALegendEach) {
  const std::string svg = to_svg(pass_at_k());
  EXPECT_EQ(malformed(svg), "");
  EXPECT_TRUE(svg.starts_with("<svg xmlns='http://www.w3.org/2000/svg'"));
  EXPECT_EQ(count(svg, "<polyline "), 2u);
  EXPECT_EQ(count(svg, "<polygon "), 1u);  // only `start` has a band
  EXPECT_EQ(count(svg, "<circle "), 6u);
  EXPECT_EQ(count(svg, ">start</text>"), 1u);
}

TEST(Plot, EscapesNamesWhateverTheyHold) {
  Chart c = pass_at_k();
  c.title = "a < b & c > d";
  c.curves[0].name = "</text><script>\x1b\xff";
  c.curves[1].colour = "red' onload='x";
  const std::string svg = to_svg(c);
  EXPECT_EQ(malformed(svg), "");
  EXPECT_EQ(count(svg, "<script>"), 0u);
  EXPECT_EQ(count(svg, "onload='"), 0u);
  EXPECT_EQ(count(svg, "a &lt; b &amp; c &gt; d"), 1u);
}

TEST(Plot, LeavesOutPointsThatAreNotFinite) {
  Chart c = pass_at_k();
  c.curves[0].y[1] = std::nan("");
  c.curves[1].x[0] = 0;  // has no place on a log axis
  c.curves[1].y[2] = std::numeric_limits<double>::infinity();
  const std::string svg = to_svg(c);
  EXPECT_EQ(malformed(svg), "");
  EXPECT_EQ(count(svg, "nan"), 0u);
  EXPECT_EQ(count(svg, "inf"), 0u);
  EXPECT_EQ(count(svg, "<circle "), 3u);
}

TEST(Plot, StandsChartsWithoutPointsOrRoom) {
  EXPECT_EQ(malformed(to_svg({})), "");
  Chart flat = pass_at_k();
  flat.y_low = flat.y_high = 1;
  for (Curve& c : flat.curves) c.x = {1, 1, 1};
  const std::string svg = to_svg(flat);
  EXPECT_EQ(malformed(svg), "");
  EXPECT_EQ(count(svg, "nan"), 0u);
}

TEST(Plot, TicksAreRoundNumbersWhereThePointsAreNot) {
  Chart few{.title = "t", .x_label = "x", .y_label = "y"};
  few.curves.push_back({.name = "a", .colour = "#000000", .x = {1.37607e-07, 3.84215}, .y = {0.1, 0.8}});
  const std::string svg = to_svg(few);
  EXPECT_EQ(count(svg, "e-07"), 0u);
  EXPECT_EQ(count(svg, ">3.84215</text>"), 0u);
  for (const char* tick : {">2</text>", ">3</text>"}) EXPECT_EQ(count(svg, tick), 1u) << tick;
  few.curves[0].x = {16, 48};  // these are
  EXPECT_EQ(count(to_svg(few), ">48</text>"), 1u);
}

TEST(Plot, KeepsEveryPointOnThePage) {
  Chart c = pass_at_k();
  c.curves[0].y = {-3, 0.5, 7};
  const std::string svg = to_svg(c);
  EXPECT_EQ(count(svg, "cy='368.0'"), 1u);  // the bottom edge
  EXPECT_EQ(count(svg, "cy='44.0'"), 1u);   // the top edge
}

}  // namespace
}  // namespace fulcrum::cli
