#include "engine/kernels/gemm/op.h"

#include <algorithm>

#include "engine/kernels/matmul/op.h"
#include "engine/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/kernels/gemm/op_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "engine/kernels/simd_inl.h"

HWY_BEFORE_NAMESPACE();
namespace fulcrum::kernels::HWY_NAMESPACE {

inline constexpr int64_t kDepth = kChainInputs;   // of a block of A and B
inline constexpr int64_t kRows = 96;              // of A's block: 48 KiB
inline constexpr int64_t kPanel = kPanelOutputs;  // columns of B that lie side by side: 32 KiB
inline constexpr int64_t kColumns = 8 * kPanel;   // of B's block: 256 KiB
inline constexpr int kTileRows = 6;
// Of a panel, what a tile takes in units of 16: AVX-512 has registers for 6 x 64 sums, the others for 6 x 16.
inline constexpr int kTileWide = kRowVectors == 1 ? 4 : 1;

// A block of A: how far apart its rows and its columns lie depends on which of the two A has side by side.
template <bool kRowsApart>
struct BlockOfA {
  static constexpr int64_t kRowStride = kRowsApart ? kDepth : 1, kColumnStride = kRowsApart ? 1 : kRows;
};

// A tile of C and whether it is added to.
struct TileOfC {
  float* data;
  int64_t stride;
  bool add;
};

template <int kHigh, int kWide, bool kRowsApart>
HWY_INLINE void Tile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, int64_t depth,
                     const TileOfC& c) {
  using A = BlockOfA<kRowsApart>;
  constexpr int kVectors = kWide * kRowVectors;
  const Floats d;
#pragma GCC unroll 8
  for (int r = 0; r < kHigh; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kWide; ++j) __builtin_prefetch(c.data + r * c.stride + j * 16, 1, 3);
  }
  TileSums<kHigh, kVectors> sums;
  for (int64_t k = 0; k < depth; ++k, a += A::kColumnStride, b += kPanel) {
    Vector right[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) right[j] = hn::Load(d, b + j * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kHigh; ++r) {
      const Vector left = hn::Set(d, a[r * A::kRowStride]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sums.of[r][j] = Fma(left, right[j], sums.of[r][j]);
    }
  }
  if (c.add) return sums.AddTo(c.data, c.stride);
  sums.StoreTo(c.data, c.stride);
}

// The same where C ends inside the tile: by way of a whole one.
template <int kHigh, int kWide, bool kRowsApart>
HWY_INLINE void EdgeTile(const float* a, const float* b, int64_t depth, const TileOfC& c, int64_t columns) {
  float whole[kHigh * 16 * kWide];
  Tile<kHigh, kWide, kRowsApart>(a, b, depth, {whole, 16 * kWide, false});
  for (int r = 0; r < kHigh; ++r) {
    for (int64_t j = 0; j < columns; ++j) {
      float& out = c.data[r * c.stride + j];
      out = c.add ? out + whole[r * 16 * kWide + j] : whole[r * 16 * kWide + j];
    }
  }
}

struct Part {
  const float *a, *b;
  int64_t rows, columns, depth;
  TileOfC c;
};

// All rows of at most kWide * 16 columns.
template <int kWide, bool kRowsApart>
HWY_INLINE void Strip(Part p) {
  const auto tiles = [&]<int kHigh>() {
    for (; p.rows >= kHigh; p.rows -= kHigh) {
      if (p.columns == 16 * kWide) {
        Tile<kHigh, kWide, kRowsApart>(p.a, p.b, p.depth, p.c);
      } else {
        EdgeTile<kHigh, kWide, kRowsApart>(p.a, p.b, p.depth, p.c, p.columns);
      }
      p.a += kHigh * BlockOfA<kRowsApart>::kRowStride;
      p.c.data += kHigh * p.c.stride;
    }
  };
  tiles.template operator()<kTileRows>();
  tiles.template operator()<2>();
  tiles.template operator()<1>();
}

template <int kWide, bool kRowsApart>
HWY_INLINE void StripOf(const Part& p) {  // the narrowest that takes all columns
  if constexpr (kWide > 1) {
    if (p.columns <= 16 * (kWide - 1)) return StripOf<kWide - 1, kRowsApart>(p);
  }
  Strip<kWide, kRowsApart>(p);
}

// A block of A times a block of B.
template <bool kRowsApart>
void Blocks(const Part& all) {
  for (int64_t n = 0; n < all.columns; n += 16 * kTileWide) {
    Part p = all;
    p.b += n / kPanel * kPanel * kDepth + n % kPanel;
    p.c.data += n;
    p.columns = std::min<int64_t>(16 * kTileWide, all.columns - n);
    StripOf<kTileWide, kRowsApart>(p);
  }
}

// `lines` lines of `length` floats, from one distance to another. (A memcpy of so few bytes becomes a string
// instruction, which starts slowly.)
HWY_INLINE void CopyLines(const float* HWY_RESTRICT x, int64_t x_stride, int64_t lines, int64_t length,
                          float* HWY_RESTRICT y, int64_t y_stride) {
  const Floats d;
  for (; lines > 0; --lines, x += x_stride, y += y_stride) {
    int64_t i = 0;
    for (; i + kLanes <= length; i += kLanes) hn::StoreU(hn::LoadU(d, x + i), d, y + i);
    for (; i < length; ++i) y[i] = x[i];
  }
}

// Four rows of four become columns.
HWY_INLINE void Transpose4(const float* x, int64_t x_stride, float* y, int64_t y_stride) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) y[j * y_stride + i] = x[i * x_stride + j];
  }
#else
  const hn::FixedTag<float, 4> d;
  const auto r0 = hn::LoadU(d, x), r1 = hn::LoadU(d, x + x_stride);
  const auto r2 = hn::LoadU(d, x + 2 * x_stride), r3 = hn::LoadU(d, x + 3 * x_stride);
  const auto low01 = hn::InterleaveLower(d, r0, r1), low23 = hn::InterleaveLower(d, r2, r3);
  const auto high01 = hn::InterleaveUpper(d, r0, r1), high23 = hn::InterleaveUpper(d, r2, r3);
  hn::StoreU(hn::ConcatLowerLower(d, low23, low01), d, y);
  hn::StoreU(hn::ConcatUpperUpper(d, low23, low01), d, y + y_stride);
  hn::StoreU(hn::ConcatLowerLower(d, high23, high01), d, y + 2 * y_stride);
  hn::StoreU(hn::ConcatUpperUpper(d, high23, high01), d, y + 3 * y_stride);
#endif
}

// `columns` (at most a panel) of B's block to a panel; what is missing to the next multiple of 16 is 0.
HWY_INLINE void PackPanel(const GemmMatrix& b, int64_t depth, int64_t columns, float* panel) {
  if (b.column_stride == 1) {
    CopyLines(b.data, b.row_stride, depth, columns, panel, kPanel);
  } else {
    const int64_t by_four = columns / 4 * 4, deep = depth / 4 * 4;
    for (int64_t n = 0; n < by_four; n += 4) {
      for (int64_t k = 0; k < deep; k += 4)
        Transpose4(b.data + n * b.column_stride + k, b.column_stride, panel + k * kPanel + n, kPanel);
    }
    for (int64_t n = 0; n < columns; ++n) {
      for (int64_t k = n < by_four ? deep : 0; k < depth; ++k)
        panel[k * kPanel + n] = b.data[n * b.column_stride + k];
    }
  }
  for (int64_t n = columns; n % 16 != 0; ++n) {
    for (int64_t k = 0; k < depth; ++k) panel[k * kPanel + n] = 0;
  }
}

HWY_INLINE void PackA(const GemmMatrix& a, int64_t rows, int64_t depth, float* block) {
  if (a.column_stride == 1) {
    CopyLines(a.data, a.row_stride, rows, depth, block, BlockOfA<true>::kRowStride);
  } else {
    CopyLines(a.data, a.column_stride, depth, rows, block, BlockOfA<false>::kColumnStride);
  }
}

void Gemm(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
          int64_t c_stride) {
  if (shape.depth == 0 && !add) {
    for (int64_t i = 0; i < shape.rows; ++i) std::fill_n(c + i * c_stride, shape.columns, 0.0f);
  }
  thread_local AlignedFloats block_a(kRows * kDepth), block_b(kColumns * kDepth);
  const int64_t blocks = std::max<int64_t>((shape.columns + kColumns - 1) / kColumns, 1);
  const int64_t wide = round_up((shape.columns + blocks - 1) / blocks, kPanel);  // about equally wide
  for (int64_t n = 0; n < shape.columns; n += wide) {
    const int64_t columns = std::min(wide, shape.columns - n);
    for (int64_t k = 0; k < shape.depth; k += kDepth) {
      const int64_t depth = std::min(kDepth, shape.depth - k);
      for (int64_t i = 0; i < columns; i += kPanel) {
        PackPanel({b.data + k * b.row_stride + (n + i) * b.column_stride, b.row_stride, b.column_stride},
                  depth, std::min(kPanel, columns - i), block_b.data() + i * kDepth);
      }
      for (int64_t m = 0; m < shape.rows; m += kRows) {
        const int64_t rows = std::min(kRows, shape.rows - m);
        PackA({a.data + m * a.row_stride + k * a.column_stride, a.row_stride, a.column_stride}, rows, depth,
              block_a.data());
        const Part part{block_a.data(), block_b.data(), rows,
                        columns,        depth,          {c + m * c_stride + n, c_stride, add || k > 0}};
        if (a.column_stride == 1) {
          Blocks<true>(part);
        } else {
          Blocks<false>(part);
        }
      }
    }
  }
}

}  // namespace fulcrum::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fulcrum::kernels {

HWY_EXPORT(Gemm);
void gemm(const GemmShape& shape, const GemmMatrix& a, const GemmMatrix& b, bool add, float* c,
          int64_t c_stride) {
  HWY_DYNAMIC_DISPATCH(Gemm)(shape, a, b, add, c, c_stride);
}

}  // namespace fulcrum::kernels
#endif
