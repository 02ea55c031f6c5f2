#include "policy/text/piece_table.h"

#include <string_view>

namespace fulcrum {

std::string PieceTable::decode(std::span<const TokenId> ids) const {
  std::string text;
  bool strip = leading_ != LeadingSpace::kKeep;
  for (const TokenId id : ids) {
    if (!has(id)) continue;
    const Entry& entry = entries_[static_cast<size_t>(id)];
    std::string_view shown = entry.shown;
    if (strip && text.empty() && entry.space_mark) {
      shown.remove_prefix(1);
      strip = leading_ == LeadingSpace::kStripAll;
    }
    text += shown;
  }
  return text;
}

}  // namespace fulcrum
