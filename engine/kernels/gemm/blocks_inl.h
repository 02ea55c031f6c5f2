// The walk over blocks, strips and tiles that the products of fp32 and of bf16 share. Included by op_cpu.cpp
// (once an instruction set) and op_avx512.cpp, each inside its namespace and with its compiler flags: no
// include guard. K is the arithmetic:
//   Word, kInputs     what blocks hold, and how many inputs of the depth are in one
//   kDepth            inputs of a block of A and B
//   kTileWide         of a panel, what a tile takes in units of 16 columns
//   Tile<kHigh, kWide, kRowsApart>(a, b, words, c)
//   PackPanel(b, depth, columns, panel), PackA(a, rows, depth, block)

inline constexpr int64_t kRows = 96;              // of A's block: 48 KiB
inline constexpr int64_t kPanel = kPanelOutputs;  // columns of B that lie side by side: 32 KiB
inline constexpr int64_t kColumns = 10 * kPanel;  // of B's block: 320 KiB
inline constexpr int kTileRows = 6;

// A tile of C and whether it is added to.
struct TileOfC {
  float* data;
  int64_t stride;
  bool add;
};

// A block of A: how far apart its rows and its columns lie depends on which of the two A has side by side.
template <class K, bool kRowsApart>
struct BlockOfA {
  static constexpr int64_t kRowStride = kRowsApart ? K::kDepth / K::kInputs : 1;
  static constexpr int64_t kColumnStride = kRowsApart ? 1 : kRows;
};

// A tile where C ends inside it: by way of a whole one.
template <class K, int kHigh, int kWide, bool kRowsApart>
HWY_INLINE void EdgeTile(const typename K::Word* a, const typename K::Word* b, int64_t words,
                         const TileOfC& c, int64_t columns) {
  float whole[kHigh * 16 * kWide];
  K::template Tile<kHigh, kWide, kRowsApart>(a, b, words, {whole, 16 * kWide, false});
  for (int r = 0; r < kHigh; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float& out = c.data[r * c.stride + j];
      out = c.add ? out + whole[r * 16 * kWide + j] : whole[r * 16 * kWide + j];
    }
  }
}

template <class K>
struct Part {
  const typename K::Word *a, *b;
  int64_t rows, columns, words;
  TileOfC c;
};

// All rows of at most kWide * 16 columns.
template <class K, int kWide, bool kRowsApart>
HWY_INLINE void Strip(Part<K> p) {
  const auto tiles = [&]<int kHigh>() {
    for (; p.rows >= kHigh; p.rows -= kHigh) {
      if (p.columns == 16 * kWide) {
        K::template Tile<kHigh, kWide, kRowsApart>(p.a, p.b, p.words, p.c);
      } else {
        EdgeTile<K, kHigh, kWide, kRowsApart>(p.a, p.b, p.words, p.c, p.columns);
      }
      p.a += kHigh * BlockOfA<K, kRowsApart>::kRowStride;
      p.c.data += kHigh * p.c.stride;
    }
  };
  tiles.template operator()<kTileRows>();
  tiles.template operator()<2>();
  tiles.template operator()<1>();
}

template <class K, int kWide, bool kRowsApart>
HWY_INLINE void StripOf(const Part<K>& p) {  // the narrowest that takes all columns
  if constexpr (kWide > 1) {
    if (p.columns <= 16 * (kWide - 1)) return StripOf<K, kWide - 1, kRowsApart>(p);
  }
  Strip<K, kWide, kRowsApart>(p);
}

// A block of A times a block of B.
template <class K, bool kRowsApart>
void Blocks(const Part<K>& all) {
  constexpr int64_t kPanelRows = K::kDepth / K::kInputs;
  for (int64_t n = 0; n < all.columns; n += 16 * K::kTileWide) {
    Part<K> p = all;
    p.b += n / kPanel * kPanel * kPanelRows + n % kPanel;
    p.c.data += n;
    p.columns = std::min<int64_t>(16 * K::kTileWide, all.columns - n);
    StripOf<K, K::kTileWide, kRowsApart>(p);
  }
}

template <class K>
void Product(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
             int64_t c_stride) {
  constexpr int64_t kWords = K::kDepth / K::kInputs;
  if (shape.depth == 0 && !add) {
    for (int64_t i = 0; i < shape.rows; ++i) std::fill_n(c + i * c_stride, shape.columns, 0.0f);
  }
  thread_local Aligned<typename K::Word> block_a(kRows * kWords), block_b(kColumns * kWords);
  const int64_t blocks = std::max<int64_t>((shape.columns + kColumns - 1) / kColumns, 1);
  const int64_t wide = round_up((shape.columns + blocks - 1) / blocks, kPanel);  // about equally wide
  for (int64_t n = 0; n < shape.columns; n += wide) {
    const int64_t columns = std::min(wide, shape.columns - n);
    for (int64_t k = 0; k < shape.depth; k += K::kDepth) {
      const int64_t depth = std::min(K::kDepth, shape.depth - k);
      for (int64_t i = 0; i < columns; i += kPanel) {
        K::PackPanel({b.data + k * b.row_stride + (n + i) * b.column_stride, b.row_stride, b.column_stride},
                     depth, std::min(kPanel, columns - i), block_b.data() + i * kWords);
      }
      for (int64_t m = 0; m < shape.rows; m += kRows) {
        const int64_t rows = std::min(kRows, shape.rows - m);
        K::PackA({a.data + m * a.row_stride + k * a.column_stride, a.row_stride, a.column_stride}, rows,
                 depth, block_a.data());
        const Part<K> part{block_a.data(),
                           block_b.data(),
                           rows,
                           columns,
                           (depth + K::kInputs - 1) / K::kInputs,
                           {c + m * c_stride + n, c_stride, add || k > 0}};
        if (a.column_stride == 1) {
          Blocks<K, true>(part);
        } else {
          Blocks<K, false>(part);
        }
      }
    }
  }
}
