// What a trainer needs of a row of its data set. A value.
#pragma once

namespace fulcrum {

enum class RowFormat {
  kPrompt,      // prompt: to be continued and judged; also evaluation
  kPreference,  // prompt, chosen, rejected
  kCompletion,  // prompt and completion, or text
};

}  // namespace fulcrum
