// What the model that generates needs of an accelerator, as plain functions: memory, a stream, recorded work
// (a graph) and the kernels of a decode step. The CUDA plugin hands them over, tests put others in their
// place; policy/decode/device calls them.
//
// A step runs `count` rows, a row being one token of one sequence, through the model. Whatever a step changes
// lies in the device's memory (DeviceRow, DeviceSlot), so that one recorded step serves all: nothing that
// changes is an argument. Rows that are not live are passed over.
//
// Pointers are into the device's memory unless a comment says otherwise. Kernels put their work on `stream`,
// read their arguments before they return, and neither wait nor allocate. Functions return 0, or the
// runtime's error, for which error_text() has words. A row's numbers do not depend on the other rows, except
// where Product says so. Thread-safe on different streams.
#pragma once

#include <cstdint>

#include "engine/kernels/attention/op.h"
#include "engine/kernels/device/table.h"
#include "engine/kernels/softmax/op.h"

namespace fulcrum::kernels {

using DeviceGraph = void*;
using DeviceProducts = void*;  // what products in an open order need beside a stream

inline constexpr int kDeviceOutOfMemory = 2;  // the error for it

// One token of one sequence.
struct DeviceRow {
  int32_t token = 0;
  int32_t position = 0;
  int32_t table = 0;  // the sequence's row of the page tables
  int32_t live = 0;
};

inline constexpr int kSlotDraws = 16;  // tokens a slot may draw between two looks of the host
inline constexpr int kSlotEndings = 8;

// How a sequence draws its tokens, when it ends, and what it drew since the host looked.
struct DeviceSlot {
  double uniforms[kSlotDraws] = {};  // of the next draws
  double top_p = 1, min_p = 0;       // 1 and 0: off
  float temperature = 1;
  int32_t greedy = 0;                  // then `temperature` is 1
  int32_t top_k = 0;                   // 0: off
  int32_t remaining = 0;               // tokens it may draw yet; it ends with the last
  int32_t endings[kSlotEndings] = {};  // tokens that end it; -1: none
  int32_t drawn = 0;
  int32_t failed = 0;  // logits were not finite: nothing was drawn, the sequence has ended
  int32_t ids[kSlotDraws] = {};
  float logps[kSlotDraws] = {};
};

// Keys and values. A page holds kPagePositions positions of all layers: for each layer the keys, then the
// values, each [kv_heads][kPagePositions][head_stride]. What lies past head_dim is 0.
struct PagedCache {
  void* pages = nullptr;
  ActivationType type = ActivationType::kF32;
  const int32_t* tables = nullptr;  // [tables][table_stride] pages of a sequence in order
  int64_t table_stride = 0;
  int64_t kv_heads = 0, head_dim = 0;
  int64_t head_stride = 0;     // head_dim rounded up to 8
  int64_t layer_elements = 0;  // of a page
  int64_t page_elements = 0;
};

// hidden: [count, n]. The rows of dead tokens stay as they are.
struct EmbedRows {
  const DeviceRow* rows = nullptr;
  int64_t count = 0, n = 0;
  const void* embedding = nullptr;  // [vocabulary, n] of `type`
  ActivationType type = ActivationType::kF32;
  float* hidden = nullptr;
};

// y (+)= x W^T with sums in fp32.
struct Product {
  const void* x = nullptr;        // [rows, inputs] of `type`
  const void* weights = nullptr;  // [outputs, inputs] of `type`
  ActivationType type = ActivationType::kF32;
  int64_t rows = 0, inputs = 0, outputs = 0;
  float* y = nullptr;  // [rows, outputs]
  bool add = false;    // to what y holds
  // A row's sums are added in one order whatever rows are beside it. Off: a library may be faster from some
  // rows on, and the last bits of a row may hang on how many there are.
  bool fixed_order = true;
};

// Adds the biases, rotates queries and keys, and puts keys and values into the pages: one kernel, as all
// three read the same numbers. Queries stay in qkv.
struct RopeAndStore {
  const DeviceRow* rows = nullptr;
  int64_t count = 0;
  float* qkv = nullptr;         // [count, (heads + 2 kv_heads) head_dim]
  const float* bias = nullptr;  // [(heads + 2 kv_heads) head_dim], or null
  int64_t heads = 0, layer = 0;
  const float* cosines = nullptr;  // [positions, head_dim / 2]
  const float* sines = nullptr;
  PagedCache cache;
};

// A tile of positions has its own softmax; tiles are joined in order, so that a row gives the same bits
// whether they ran side by side or one after another.
inline constexpr int kAttentionTile = 256;

struct AttendRows {
  const DeviceRow* rows = nullptr;
  int64_t count = 0;
  const float* qkv = nullptr;  // as RopeAndStore left it
  int64_t heads = 0, layer = 0;
  float scale = 1;
  PagedCache cache;
  // Tiles that run side by side, enough for the longest row: single tokens of long sequences would else keep
  // few of the device's cores busy. 0: each row walks its tiles, which rows of prompts do, being many.
  int64_t tiles = 0;
  float* parts = nullptr;  // [count, heads, tiles, head_stride + 2]; unused if tiles < 2
  void* out = nullptr;     // [count, heads head_dim] of `type`
  ActivationType type = ActivationType::kF32;
};

inline constexpr int64_t kDrawPart = 4096;  // logits a block looks at for the largest

// Draws a token for each row that is live, as rollout/sampler.h defines it, writes it down in its slot, makes
// it the row's next token and ends the row where an ending or the number of tokens says so.
struct DrawRows {
  const float* logits = nullptr;        // [.., vocabulary]
  const int32_t* logits_row = nullptr;  // [count] which of them; null: row i
  const int32_t* slot = nullptr;        // [count] which row and slot; null: i
  int64_t count = 0, vocabulary = 0;
  DeviceRow* rows = nullptr;
  DeviceSlot* slots = nullptr;
  float* part_max = nullptr;     // [count, ceil(vocabulary / kDrawPart)]
  int32_t* part_id = nullptr;    // the same
  double* block_sums = nullptr;  // [count, ceil(vocabulary / kSoftmaxBlock)]
};

struct DecodeKernels {
  const char* (*error_text)(int error);

  // Of this thread from now on.
  int (*use_device)(int32_t device);
  int (*allocate)(int64_t bytes, void** memory);
  void (*free)(void* memory);
  int (*allocate_host)(int64_t bytes, void** memory);  // page-locked, in the host's memory
  void (*free_host)(void* memory);
  int (*free_memory)(int64_t* bytes);  // that allocate() could still give

  int (*make_stream)(DeviceStream* stream);
  void (*destroy_stream)(DeviceStream stream);
  int (*upload)(void* to, const void* from_host, int64_t bytes, DeviceStream stream);
  int (*download)(void* to_host, const void* from, int64_t bytes, DeviceStream stream);
  int (*copy)(void* to, const void* from, int64_t bytes, DeviceStream stream);
  int (*clear)(void* memory, int64_t bytes, DeviceStream stream);
  int (*synchronise)(DeviceStream stream);

  // What is put on the stream between the two is recorded and not run.
  int (*begin_capture)(DeviceStream stream);
  int (*end_capture)(DeviceStream stream, DeviceGraph* graph);
  int (*launch)(DeviceGraph graph, DeviceStream stream);
  void (*destroy_graph)(DeviceGraph graph);

  int (*make_products)(DeviceStream stream, DeviceProducts* products);
  void (*destroy_products)(DeviceProducts products);
  // `products`: of this stream; may be null if Product::fixed_order.
  int (*product)(DeviceProducts products, const Product& in, DeviceStream stream);

  int (*embed)(const EmbedRows& in, DeviceStream stream);
  int (*rope_and_store)(const RopeAndStore& in, DeviceStream stream);
  int (*attend)(const AttendRows& in, DeviceStream stream);
  int (*draw)(const DrawRows& in, DeviceStream stream);
  // As in DeviceKernels.
  int (*rmsnorm)(const NormRows& in, ActivationType type, void* y, DeviceStream stream);
  int (*swiglu)(const float* gate_up, int64_t rows, int64_t n, ActivationType type, void* y,
                DeviceStream stream);
};

}  // namespace fulcrum::kernels
