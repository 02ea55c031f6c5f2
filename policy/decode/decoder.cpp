#include "policy/decode/decoder.h"

#include <algorithm>

#include "engine/kernels/attention/op.h"
#include "engine/kernels/rmsnorm/op.h"
#include "engine/kernels/rope/op.h"
#include "engine/kernels/silu_mul/op.h"

namespace fulcrum {
namespace {

using kernels::AlignedFloats;
using kernels::kRowAlign;
using kernels::round_up;

constexpr int64_t kChunkRows = Decoder::kChunkRows;

// Rows of activations side by side.
struct Activations {
  Activations() = default;
  explicit Activations(int64_t row_floats) : stride(row_floats), floats(kChunkRows * row_floats) {}
  float* row(int64_t r) { return floats.data() + r * stride; }

  int64_t stride = 0;
  AlignedFloats floats;
};

}  // namespace

struct Decoder::Placed {
  KvSequence* sequence;
  TokenId token;
  int64_t position;
  int64_t logits;  // index, or -1
};

struct Decoder::Workspace {
  explicit Workspace(const DecodeModel& m)
      : hidden(round_up(m.spec().hidden_size, kernels::kPanelOutputs)),
        normed(round_up(m.spec().hidden_size, kRowAlign)),
        qkv(m.layers()[0].qkv.padded_outputs()),
        mixed(round_up(m.attention().heads * m.attention().head_dim, kRowAlign)),
        gate_up(m.layers()[0].gate_up.padded_outputs()),
        inner(m.up_begin()) {
    if (m.dtype() != DType::kBF16) return;
    const int64_t widest = std::max({normed.stride, mixed.stride, inner.stride});
    rounded = kernels::Aligned<uint16_t>(kChunkRows * widest);
  }

  // y += W x
  void multiply(const Activations& x, int64_t rows, const WeightMatrix& w, Activations& y) {
    w.add_product(x.floats.data(), x.stride, rows, y.floats.data(), y.stride, rounded.data(), helpers);
  }

  Activations hidden, normed, qkv, mixed, gate_up, inner;
  AlignedFloats scores;
  kernels::Aligned<uint16_t> rounded;  // a product's input in bf16; empty in fp32
  Workers* helpers = nullptr;          // where nobody else has rows
};

Decoder::Decoder(std::shared_ptr<const DecodeModel> model, Workers& workers)
    : model_(std::move(model)),
      workers_(workers),
      pool_(model_->attention().page_floats() * model_->spec().num_hidden_layers),
      rope_(model_->spec()) {
  for (int64_t i = 0; i < workers.count(); ++i) workspaces_.push_back(std::make_unique<Workspace>(*model_));
}

Decoder::~Decoder() = default;

bool Decoder::run(std::span<const DecodeRow> rows, std::stop_token stop) {
  std::vector<Placed> placed;
  logits_index_.clear();
  int64_t with_logits = 0, positions = 0;
  for (const DecodeRow& row : rows) {
    logits_index_.push_back(row.wants_logits ? with_logits++ : -1);
    placed.push_back({row.sequence, row.token, row.sequence->append(), logits_index_.back()});
    positions = std::max(positions, row.sequence->length());
  }
  rope_.grow_to(positions);
  const int64_t floats = with_logits * model_->head().padded_outputs();
  if (logits_.size() < floats) logits_ = AlignedFloats(floats);
  const int64_t scratch = kernels::attention_scratch(positions);
  for (const auto& w : workspaces_) {
    if (w->scores.size() < scratch) w->scores = AlignedFloats(2 * scratch);
  }

  const std::vector<size_t> borders = divide(rows);
  workspaces_[0]->helpers = borders.size() == 2 ? &workers_ : nullptr;
  workers_.run(static_cast<int64_t>(borders.size()) - 1, [&](int64_t worker) {
    const size_t end = borders[static_cast<size_t>(worker) + 1];
    for (size_t i = borders[static_cast<size_t>(worker)]; i < end && !stop.stop_requested();
         i += kChunkRows) {
      const auto chunk = std::span<const Placed>(placed).subspan(i, std::min<size_t>(kChunkRows, end - i));
      forward(*workspaces_[static_cast<size_t>(worker)], chunk, stop);
    }
  });
  return !stop.stop_requested();
}

std::span<const float> Decoder::logits(size_t row) const {
  return {logits_.data() + logits_index_[row] * model_->head().padded_outputs(),
          static_cast<size_t>(model_->spec().vocab_size)};
}

// Equal parts, moved to the next border between sequences: a row reads the keys its sequence's earlier rows
// write.
std::vector<size_t> Decoder::divide(std::span<const DecodeRow> rows) const {
  const size_t parts = std::min(workspaces_.size(), std::max<size_t>(rows.size(), 1));
  std::vector<size_t> borders{0};
  for (size_t i = 1; i < parts; ++i) {
    size_t at = std::max(rows.size() * i / parts, borders.back());
    while (at > 0 && at < rows.size() && rows[at].sequence == rows[at - 1].sequence) ++at;
    borders.push_back(at);
  }
  borders.push_back(rows.size());
  return borders;
}

void Decoder::forward(Workspace& w, std::span<const Placed> rows, const std::stop_token& stop) {
  const int64_t n = static_cast<int64_t>(rows.size());
  for (int64_t r = 0; r < n; ++r) {
    std::copy_n(model_->embedding(rows[static_cast<size_t>(r)].token), model_->spec().hidden_size,
                w.hidden.row(r));
  }
  for (size_t layer = 0; layer < model_->layers().size(); ++layer) {
    if (stop.stop_requested()) return;
    attend(w, rows, layer);
    feed_forward(w, n, layer);
  }
  project(w, rows);
}

// hidden += W_o attention(norm(hidden))
void Decoder::attend(Workspace& w, std::span<const Placed> rows, size_t index) {
  const DecodeLayer& layer = model_->layers()[index];
  const kernels::AttentionShape& shape = model_->attention();
  const float epsilon = static_cast<float>(model_->spec().rms_norm_eps);
  const int64_t n = static_cast<int64_t>(rows.size()),
                page_offset = static_cast<int64_t>(index) * shape.page_floats();

  for (int64_t r = 0; r < n; ++r) {
    kernels::rmsnorm_row(w.hidden.row(r), layer.attention_norm.data(), model_->spec().hidden_size, epsilon,
                         w.normed.row(r));
    if (layer.qkv_bias.size() > 0) {
      std::copy_n(layer.qkv_bias.data(), w.qkv.stride, w.qkv.row(r));
    } else {
      std::fill_n(w.qkv.row(r), w.qkv.stride, 0.0f);
    }
  }
  w.multiply(w.normed, n, layer.qkv, w.qkv);
  for (int64_t r = 0; r < n; ++r) {
    const Placed& row = rows[static_cast<size_t>(r)];
    const float *cosines = rope_.cosines(row.position), *sines = rope_.sines(row.position);
    float* keys = w.qkv.row(r) + model_->key_begin();
    kernels::rope_row(w.qkv.row(r), shape.heads, shape.head_dim, cosines, sines);
    kernels::rope_row(keys, shape.kv_heads, shape.head_dim, cosines, sines);
    kernels::store_key_value(shape, keys, w.qkv.row(r) + model_->value_begin(),
                             row.sequence->page_of(row.position) + page_offset,
                             row.position % kernels::kPagePositions);
  }
  for (int64_t r = 0; r < n; ++r) {
    const Placed& row = rows[static_cast<size_t>(r)];
    const kernels::AttentionInput in{w.qkv.row(r), row.sequence->pages(), page_offset, row.position + 1,
                                     w.scores.data()};
    kernels::attention_row(shape, in, w.mixed.row(r));
  }
  w.multiply(w.mixed, n, layer.attention_out, w.hidden);
}

// hidden += W_down (silu(W_gate norm(hidden)) * W_up norm(hidden))
void Decoder::feed_forward(Workspace& w, int64_t rows, size_t index) {
  const DecodeLayer& layer = model_->layers()[index];
  const ModelSpec& spec = model_->spec();
  for (int64_t r = 0; r < rows; ++r) {
    kernels::rmsnorm_row(w.hidden.row(r), layer.mlp_norm.data(), spec.hidden_size,
                         static_cast<float>(spec.rms_norm_eps), w.normed.row(r));
    std::fill_n(w.gate_up.row(r), w.gate_up.stride, 0.0f);
  }
  w.multiply(w.normed, rows, layer.gate_up, w.gate_up);
  for (int64_t r = 0; r < rows; ++r) {
    kernels::silu_mul_row(w.gate_up.row(r), w.gate_up.row(r) + model_->up_begin(), spec.intermediate_size,
                          w.inner.row(r));
  }
  w.multiply(w.inner, rows, layer.down, w.hidden);
}

// The logits of the rows that want them; those stand side by side in logits_, as their rows do in the chunk.
void Decoder::project(Workspace& w, std::span<const Placed> rows) {
  const ModelSpec& spec = model_->spec();
  const int64_t stride = model_->head().padded_outputs();
  int64_t wanted = 0, first = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].logits < 0) continue;
    if (wanted == 0) first = rows[r].logits;
    kernels::rmsnorm_row(w.hidden.row(static_cast<int64_t>(r)), model_->final_norm().data(), spec.hidden_size,
                         static_cast<float>(spec.rms_norm_eps), w.normed.row(wanted++));
  }
  if (wanted == 0) return;
  float* out = logits_.data() + first * stride;
  std::fill_n(out, wanted * stride, 0.0f);
  model_->head().add_product(w.normed.floats.data(), w.normed.stride, wanted, out, stride, w.rounded.data(),
                             w.helpers);
}

}  // namespace fulcrum
