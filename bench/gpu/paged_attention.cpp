// Keys and values put into the pages of a cache, and attention over them, beside the references of
// engine/kernels.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <cmath>

#include "bench/gpu/decode_call.h"
#include "bench/gpu/groups.h"
#include "engine/kernels/attention/op.h"
#include "engine/kernels/rope/op.h"

namespace fulcrum::gpu_check {
namespace {

using kernels::ActivationType;
using kernels::AttentionShape;
using kernels::DeviceRow;
using kernels::kPagePositions;
using Tensors = std::vector<at::Tensor>;

AttentionShape shape_of(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  return {heads, kv_heads, head_dim, static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)))};
}

std::vector<AttentionShape> shapes(const CheckOptions& options) {
  std::vector<AttentionShape> out = {shape_of(6, 2, 10), shape_of(3, 3, 24), shape_of(10, 1, 72)};
  if (!options.small) out.insert(out.end(), {shape_of(9, 3, 64), shape_of(32, 8, 128)});
  return out;
}

std::string named(const AttentionShape& s, ActivationType type) {
  return std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " heads of " +
         std::to_string(s.head_dim) + (type == ActivationType::kBf16 ? ", cache in bf16" : "");
}

int64_t width(const AttentionShape& s) { return (s.heads + 2 * s.kv_heads) * s.head_dim; }

// The pages of two sequences, which lie in no order; three layers, of which one is used. NaN is where nothing
// was put.
class Cache {
 public:
  static constexpr int64_t kLayers = 3, kLayer = 1, kTables = 2;

  Cache(const AttentionShape& shape, ActivationType type, int64_t positions) : shape_(shape), type_(type) {
    pages_ = (positions + kPagePositions - 1) / kPagePositions;
    stride_ = kernels::round_up(shape.head_dim, 8);
    layer_ = 2 * shape.kv_heads * kPagePositions * stride_;
    const int64_t all = kTables * pages_;
    numbers_ = at::full({all * kLayers * layer_}, NAN);
    for (int64_t i = 0; i < all; ++i)
      tables_.push_back(static_cast<int32_t>(i % 2 == 0 ? i / 2 : all - 1 - i / 2));
  }

  // A position's keys and values, [kv_heads, head_dim] each, rounded to the cache's type.
  void put(int64_t table, int64_t position, const float* keys, const float* values) {
    const int64_t page = tables_[static_cast<size_t>(table * pages_ + position / kPagePositions)];
    float* layer = numbers_.data_ptr<float>() + (page * kLayers + kLayer) * layer_;
    for (const float* from : {keys, values}) {
      for (int64_t h = 0; h < shape_.kv_heads; ++h, layer += kPagePositions * stride_) {
        float* to = layer + position % kPagePositions * stride_;
        std::fill_n(std::copy_n(from + h * shape_.head_dim, shape_.head_dim, to), stride_ - shape_.head_dim,
                    0.0F);
      }
    }
  }

  at::Tensor numbers() const { return numbers_.to(scalar_type(type_)); }
  const std::vector<int32_t>& tables() const { return tables_; }
  kernels::PagedCache paged(void* pages, const int32_t* tables) const {
    return {.pages = pages,
            .type = type_,
            .tables = tables,
            .table_stride = pages_,
            .kv_heads = shape_.kv_heads,
            .head_dim = shape_.head_dim,
            .head_stride = stride_,
            .layer_elements = layer_,
            .page_elements = kLayers * layer_};
  }

 private:
  AttentionShape shape_;
  ActivationType type_;
  int64_t pages_, stride_, layer_;
  at::Tensor numbers_;
  std::vector<int32_t> tables_;
};

// Rows at both ends of a page, one of them not live, and what rope_and_store() is given besides.
struct RopeInput {
  RopeInput(const AttentionShape& s, bool with_bias)
      : shape(s),
        rows({{0, 0, 0, 1}, {0, 15, 0, 1}, {0, 9, 0, 0}, {0, 16, 1, 1}, {0, kPositions - 1, 1, 1}}),
        qkv(numbers(std::ssize(rows) * width(s), 31)),
        cosines(numbers(kPositions * s.head_dim / 2, 32)),
        sines(numbers(kPositions * s.head_dim / 2, 33)),
        bias(with_bias ? numbers(width(s), 34) : at::Tensor()) {}
  static constexpr int32_t kPositions = 60;

  // By the reference: the new rows; the cache gets what belongs into it.
  at::Tensor expect(Cache& cache) const {
    const at::Tensor out = qkv.clone();
    const int64_t heads = shape.heads + shape.kv_heads;  // those that are turned
    for (size_t r = 0; r < rows.size(); ++r) {
      if (rows[r].live == 0) continue;
      at::Tensor row = out.narrow(0, static_cast<int64_t>(r) * width(shape), width(shape)).clone();
      if (bias.defined()) row += bias;
      const int64_t angles = rows[r].position * shape.head_dim / 2;
      float* x = row.data_ptr<float>();
      kernels::reference::rope_row(x, heads, shape.head_dim, cosines.data_ptr<float>() + angles,
                                   sines.data_ptr<float>() + angles);
      cache.put(rows[r].table, rows[r].position, x + shape.heads * shape.head_dim,
                x + heads * shape.head_dim);
      std::copy_n(x, shape.heads * shape.head_dim,
                  out.data_ptr<float>() + static_cast<int64_t>(r) * width(shape));
    }
    return out;
  }

  AttentionShape shape;
  std::vector<DeviceRow> rows;
  at::Tensor qkv, cosines, sines, bias;
};

// The rows and the cache afterwards.
Tensors rope_and_store(const DecodeCall& call, const RopeInput& in, const Cache& cache) {
  const GuardedValues<DeviceRow> rows(in.rows, call.device);
  const GuardedValues<int32_t> tables(cache.tables(), call.device);
  const Guarded pages(cache.numbers(), call.device, 0), qkv(in.qkv, call.device, 0);
  const Guarded cosines(in.cosines, call.device, 0), sines(in.sines, call.device, 0);
  std::optional<Guarded> bias;
  if (in.bias.defined()) bias.emplace(in.bias, call.device, 0);
  call.require(call.table.rope_and_store(
      {rows.data(), std::ssize(in.rows), qkv.data<float>(), bias ? bias->data<float>() : nullptr,
       in.shape.heads, Cache::kLayer, cosines.data<float>(), sines.data<float>(),
       cache.paged(pages.data<void>(), tables.data())},
      call.stream));
  return {qkv.values(), pages.values()};
}

void check_rope_and_store(const CheckOptions& options, const DecodeCall& call, Checks& checks) {
  checks.check("rope_and_store", 0, [&](Worst& worst) {
    for (const AttentionShape& shape : shapes(options)) {
      for (const ActivationType type : kTypes) {
        for (const bool biased : {false, true}) {
          const RopeInput in(shape, biased);
          Cache cache(shape, type, RopeInput::kPositions);
          const Tensors got = twice([&] { return rope_and_store(call, in, cache); });
          const std::string where = named(shape, type) + (biased ? ", with biases" : "");
          const at::Tensor queries = in.expect(cache);
          // Where keys and values stood in a row nobody reads them again.
          const int64_t kept = shape.heads * shape.head_dim;
          worst.add(apart(got[0].view({-1, width(shape)}).narrow(1, 0, kept),
                          queries.view({-1, width(shape)}).narrow(1, 0, kept), 1),
                    where + ", queries");
          worst.add(apart(got[1], cache.numbers(), 1), where + ", pages");
        }
      }
    }
  });
}

// Rows of two sequences at these positions, and keys and values for all positions up to the longest.
class AttentionCase {
 public:
  AttentionCase(const AttentionShape& shape, ActivationType type, const std::vector<int32_t>& positions)
      : shape_(shape),
        longest_(*std::ranges::max_element(positions) + 1),
        qkv_(numbers(std::ssize(positions) * width(shape), 35, 2)),
        cache_(shape, type, longest_) {
    for (const int32_t p : positions) rows_.push_back({0, p, static_cast<int32_t>(rows_.size() % 2), 1});
    const int64_t n = shape.kv_heads * shape.head_dim;
    const at::Tensor all =
        numbers(Cache::kTables * longest_ * 2 * n, 36).to(scalar_type(type)).to(at::kFloat);
    const auto pages = static_cast<size_t>((longest_ + kPagePositions - 1) / kPagePositions);
    for (int64_t table = 0; table < Cache::kTables; ++table) {
      auto& own =
          cpu_pages_.emplace_back(pages, std::vector<float>(static_cast<size_t>(shape.page_floats())));
      for (int64_t p = 0; p < longest_; ++p) {
        const float* keys = all.data_ptr<float>() + (table * longest_ + p) * 2 * n;
        cache_.put(table, p, keys, keys + n);
        kernels::store_key_value(shape, keys, keys + n, own[static_cast<size_t>(p / kPagePositions)].data(),
                                 p % kPagePositions);
      }
    }
  }
  int64_t tiles() const { return (longest_ + kernels::kAttentionTile - 1) / kernels::kAttentionTile; }
  void end_row(size_t row) { rows_[row].live = 0; }

  // `tiles` side by side, or one after another with 0; of `out`. The outputs of rows that are not live are 7.
  at::Tensor run(const DecodeCall& call, int64_t tiles, ActivationType out) const {
    const auto count = std::ssize(rows_);
    const GuardedValues<DeviceRow> rows(rows_, call.device);
    const GuardedValues<int32_t> tables(cache_.tables(), call.device);
    const Guarded pages(cache_.numbers(), call.device, 0), qkv(qkv_, call.device, 0);
    const kernels::PagedCache paged = cache_.paged(pages.data<void>(), tables.data());
    const int64_t parts_n = count * shape_.heads * tiles * (paged.head_stride + 2);
    const Guarded parts(at::full({parts_n}, NAN), call.device, 0);
    const Guarded mixed(at::full({count * shape_.heads * shape_.head_dim}, 7.0F).to(scalar_type(out)),
                        call.device, 0);
    call.require(call.table.attend({rows.data(), count, qkv.data<float>(), shape_.heads, Cache::kLayer,
                                    shape_.scale, paged, tiles, parts.data<float>(), mixed.data<void>(), out},
                                   call.stream));
    parts.values();  // looks at its guards
    return mixed.values();
  }

  at::Tensor expect() const {
    const at::Tensor out = at::full({std::ssize(rows_), shape_.heads * shape_.head_dim}, 7.0F);
    std::vector<float> scratch(static_cast<size_t>(kernels::attention_scratch(longest_)));
    for (size_t r = 0; r < rows_.size(); ++r) {
      if (rows_[r].live == 0) continue;
      std::vector<const float*> pages;
      for (const auto& page : cpu_pages_[static_cast<size_t>(rows_[r].table)]) pages.push_back(page.data());
      const auto row = static_cast<int64_t>(r);
      kernels::reference::attention_row(shape_,
                                        {.query = qkv_.data_ptr<float>() + row * width(shape_),
                                         .pages = pages.data(),
                                         .positions = rows_[r].position + 1,
                                         .scratch = scratch.data()},
                                        out[row].data_ptr<float>());
    }
    return out;
  }

 private:
  AttentionShape shape_;
  int64_t longest_;
  at::Tensor qkv_;
  Cache cache_;
  std::vector<DeviceRow> rows_;
  std::vector<std::vector<std::vector<float>>> cpu_pages_;  // of each table
};

void check_attend(const CheckOptions& options, const DecodeCall& call, Checks& checks) {
  // On both sides of a page's border and of a tile's.
  std::vector<int32_t> positions = {0, 15, 16, 255, 256, 300, 530};
  if (!options.small) positions.push_back(2047);
  for (const ActivationType type : kTypes) {
    const std::string name =
        std::string("attend, cache in ") + (type == ActivationType::kBf16 ? "bf16" : "fp32");
    checks.check(name, 1e-5, [&](Worst& worst) {
      for (const AttentionShape& shape : shapes(options)) {
        AttentionCase c(shape, type, positions);
        c.end_row(3);
        const std::string where = named(shape, type);
        const at::Tensor walked = twice([&] { return Tensors{c.run(call, 0, ActivationType::kF32)}; })[0];
        worst.add(apart(walked, c.expect(), 1), where);
        for (const int64_t tiles : {c.tiles(), c.tiles() + 2}) {
          TORCH_CHECK(apart(c.run(call, tiles, ActivationType::kF32), walked, 1) == 0,
                      "other bits where tiles run side by side: ", where);
        }
        TORCH_CHECK(apart(c.run(call, c.tiles(), ActivationType::kBf16), walked.to(at::kBFloat16), 1) == 0,
                    "in bf16 it is not the fp32 output, rounded: ", where);
      }
    });
  }
}

}  // namespace

void check_paged_attention(const CheckOptions& options, Checks& checks) {
  const auto call = DecodeCall::find(options, checks, "rope_and_store, attend");
  if (!call) return;
  check_rope_and_store(options, *call, checks);
  check_attend(options, *call, checks);
}

}  // namespace fulcrum::gpu_check
