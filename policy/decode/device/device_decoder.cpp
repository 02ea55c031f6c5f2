#include "policy/decode/device/device_decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

namespace fulcrum {
namespace {

using kernels::DeviceRow;
using kernels::DeviceSlot;
using kernels::round_up;

constexpr int64_t kRowsBetweenLooks = 2048;  // of prompts, at the stop token: parts of a second

// Batches that are recorded: few, and none much larger than what is in it.
int64_t recorded_rows(int64_t count) {
  constexpr int64_t kLargestPower = 512, kStep = 256;
  int64_t rows = 1;
  while (rows < count && rows < kLargestPower) rows *= 2;
  return rows >= count ? rows : round_up(count, kStep);
}

// The first error of several calls.
class FirstError {
 public:
  void operator()(int error) { first_ = first_ == 0 ? error : first_; }
  int get() const { return first_; }

 private:
  int first_ = 0;
};

}  // namespace

struct DeviceDecoder::Device {
  DeviceRow* rows;         // [places]
  DeviceSlot* slots;       // [places], behind the rows: one copy sends both
  DeviceRow* prompt_rows;  // [kChunkRows]
  int32_t* tables;         // [places, table_stride]
  int32_t* draws;          // as host_draws_
  float *cosines, *sines;  // [longest, head_dim / 2]
  float* hidden;           // [rows, hidden_size]
  float* last_hidden;      // the same, of prompts' last tokens
  void* x;                 // what a product reads: [rows, widest]
  float* qkv;
  float* gate_up;
  float* logits;    // [places + 1, vocabulary]; the last: kept
  float* parts;     // of attention
  float* part_max;  // of draws
  int32_t* part_id;
  double* block_sums;
  kernels::PagedCache cache;
  int64_t state_bytes;  // of rows and slots
};

DeviceDecoder::DeviceDecoder(std::shared_ptr<const DeviceModel> model, const DeviceOptions& options,
                             const Size& size)
    : model_(std::move(model)),
      options_(options),
      size_(size),
      places_room_(recorded_rows(size.places)),
      table_stride_((size.longest + kernels::kPagePositions - 1) / kernels::kPagePositions),
      tiles_((size.longest + kernels::kAttentionTile - 1) / kernels::kAttentionTile),
      device_(std::make_unique<Device>()) {
  options_.steps = std::clamp<int64_t>(options_.steps, 1, kernels::kSlotDraws - 1);
}

DeviceDecoder::~DeviceDecoder() = default;

Result<std::unique_ptr<DeviceDecoder>> DeviceDecoder::create(std::shared_ptr<const DeviceModel> model,
                                                             const DeviceOptions& options, const Size& size) {
  std::unique_ptr<DeviceDecoder> decoder(new DeviceDecoder(std::move(model), options, size));
  TRY(work, DeviceWork::make(decoder->model_->kernels(), decoder->model_->device(),
                             !decoder->options_.fixed_order));
  decoder->work_ = std::move(work);
  TRY_DO(decoder->allocate());
  TRY_DO(decoder->upload_angles());
  return decoder;
}

int64_t DeviceDecoder::bytes(const ModelSpec& spec, DType dtype, const Size& size) {
  DeviceDecoder decoder(DeviceModel::shape(spec, dtype), {}, size);
  decoder.pages_ = std::make_unique<DevicePages>(size.pages);
  int64_t out = 0;
  decoder.place(nullptr, &out);
  return out;
}

// Points the arrays into `memory`, which may be null to learn how many bytes they and pages_->count() pages
// take.
void DeviceDecoder::place(const void* memory, int64_t* bytes) {
  const ModelSpec& s = model_->spec();
  const int64_t rows = std::max(places_room_, kChunkRows), number = type_bytes(model_->type());
  Places places;
  const auto array = [&]<class T>(T*& to, int64_t n, int64_t size = sizeof(T)) {
    const auto at = static_cast<uintptr_t>(places.add(n * size));
    to = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(memory) + at);
  };
  Device& d = *device_;
  d.state_bytes = places_room_ * static_cast<int64_t>(sizeof(DeviceRow) + sizeof(DeviceSlot));
  array(d.rows, d.state_bytes, 1);
  d.slots = reinterpret_cast<DeviceSlot*>(reinterpret_cast<uintptr_t>(d.rows) +
                                          static_cast<uintptr_t>(places_room_) * sizeof(DeviceRow));
  array(d.prompt_rows, kChunkRows);
  array(d.tables, places_room_ * table_stride_);
  array(d.draws, 2 * places_room_);
  array(d.cosines, size_.longest * s.head_dim / 2);
  array(d.sines, size_.longest * s.head_dim / 2);
  array(d.hidden, rows * s.hidden_size);
  array(d.last_hidden, kChunkRows * s.hidden_size);
  auto* x = static_cast<std::byte*>(nullptr);
  array(x, rows * std::max({s.hidden_size, s.intermediate_size, model_->query_width()}), number);
  d.x = x;
  array(d.qkv, rows * model_->qkv_width());
  array(d.gate_up, rows * 2 * s.intermediate_size);
  array(d.logits, (places_room_ + 1) * s.vocab_size);

  kernels::PagedCache& c = d.cache;
  c.type = model_->type();
  c.tables = d.tables;
  c.table_stride = table_stride_;
  c.kv_heads = s.num_key_value_heads;
  c.head_dim = s.head_dim;
  c.head_stride = round_up(s.head_dim, 8);
  c.layer_elements = 2 * c.kv_heads * kernels::kPagePositions * c.head_stride;
  c.page_elements = s.num_hidden_layers * c.layer_elements;
  array(d.parts, places_room_ * s.num_attention_heads * tiles_ * (c.head_stride + 2));
  const int64_t draw_parts = (s.vocab_size + kernels::kDrawPart - 1) / kernels::kDrawPart;
  array(d.part_max, places_room_ * draw_parts);
  array(d.part_id, places_room_ * draw_parts);
  array(d.block_sums, places_room_ * ((s.vocab_size + kernels::kSoftmaxBlock - 1) / kernels::kSoftmaxBlock));
  auto* pages = static_cast<std::byte*>(nullptr);
  array(pages, (pages_ ? pages_->count() : 0) * c.page_elements, number);
  c.pages = pages;
  *bytes = places.bytes();
}

Status DeviceDecoder::allocate() {
  const kernels::DecodeKernels& k = model_->kernels();
  int64_t budget = options_.memory_bytes, bytes = 0;
  if (budget <= 0) {
    TRY_DO(look(k.free_memory(&budget), "its free memory"));
    budget = budget / 10 * 9;
  }
  place(nullptr, &bytes);
  const int64_t page_bytes = device_->cache.page_elements * type_bytes(model_->type());
  const int64_t pages = std::min(size_.pages, (budget - bytes) / page_bytes);
  if (pages < 1) {
    return resource_exhausted("the accelerator's memory: of " + std::to_string(budget >> 20) +
                              " MiB the workspaces for " + std::to_string(places_room_) + " sequences take " +
                              std::to_string(bytes >> 20) + ", which leaves no page for keys and values");
  }
  pages_ = std::make_unique<DevicePages>(pages);
  place(nullptr, &bytes);
  TRY(memory, device_bytes(k, bytes));
  memory_ = std::move(memory);
  place(memory_.get(), &bytes);

  Places host;
  const int64_t state = host.add(device_->state_bytes),
                tables = host.add(places_room_ * table_stride_ * int64_t{sizeof(int32_t)}),
                draws = host.add(2 * places_room_ * int64_t{sizeof(int32_t)});
  TRY(host_memory, page_locked_bytes(k, host.bytes()));
  host_memory_ = std::move(host_memory);
  auto* base = static_cast<std::byte*>(host_memory_.get());
  host_rows_ = reinterpret_cast<DeviceRow*>(base + state);
  host_slots_ = reinterpret_cast<DeviceSlot*>(host_rows_ + places_room_);
  host_tables_ = reinterpret_cast<int32_t*>(base + tables);
  host_draws_ = reinterpret_cast<int32_t*>(base + draws);
  std::uninitialized_fill_n(host_rows_, places_room_, DeviceRow{});
  std::uninitialized_fill_n(host_slots_, places_room_, DeviceSlot{});
  return ok_status();
}

Status DeviceDecoder::upload_angles() {
  const kernels::DecodeKernels& k = model_->kernels();
  RopeAngles angles(model_->spec());
  angles.grow_to(size_.longest);
  const int64_t bytes = size_.longest * model_->spec().head_dim / 2 * int64_t{sizeof(float)};
  FirstError error;
  error(k.upload(device_->cosines, angles.cosines(0), bytes, work_->stream()));
  error(k.upload(device_->sines, angles.sines(0), bytes, work_->stream()));
  error(k.synchronise(work_->stream()));  // the angles go
  return look(error.get(), "rotary angles cannot be sent");
}

Status DeviceDecoder::set_table(int32_t table, std::span<const int32_t> pages) {
  int32_t* to = host_tables_ + table * table_stride_;
  std::copy(pages.begin(), pages.end(), to);
  return look(model_->kernels().upload(device_->tables + table * table_stride_, to,
                                       static_cast<int64_t>(pages.size_bytes()), work_->stream()),
              "a page table cannot be sent");
}

Status DeviceDecoder::begin(int64_t count) {
  in_use_ = count;
  if (options_.recorded) TRY_DO(record(recorded_rows(count)));
  for (int64_t i = count; i < places_room_; ++i) host_rows_[i].live = 0;
  return look(model_->kernels().upload(device_->rows, host_rows_, device_->state_bytes, work_->stream()),
              "the batch cannot be sent");
}

int DeviceDecoder::norm(const float* x, const float* weight, int64_t rows) {
  const ModelSpec& s = model_->spec();
  return model_->kernels().rmsnorm({x, weight, rows, s.hidden_size, static_cast<float>(s.rms_norm_eps)},
                                   model_->type(), device_->x, work_->stream());
}

// Of what lies in x.
int DeviceDecoder::multiply(const void* weights, int64_t rows, int64_t inputs, int64_t outputs, float* y,
                            bool add) {
  const kernels::Product product{.x = device_->x,
                                 .weights = weights,
                                 .type = model_->type(),
                                 .rows = rows,
                                 .inputs = inputs,
                                 .outputs = outputs,
                                 .y = y,
                                 .add = add,
                                 .fixed_order = options_.fixed_order};
  return model_->kernels().product(work_->products(), product, work_->stream());
}

// The rows' tokens through all layers: nine kernels a layer, ten where tiles of attention are joined.
int DeviceDecoder::layers(const DeviceRow* rows, int64_t count, int64_t tiles) {
  const kernels::DecodeKernels& k = model_->kernels();
  const ModelSpec& s = model_->spec();
  const Device& d = *device_;
  const kernels::DeviceStream stream = work_->stream();
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.head_dim)));
  FirstError error;
  error(k.embed({rows, count, s.hidden_size, model_->embedding(), model_->type(), d.hidden}, stream));
  for (int64_t i = 0; i < s.num_hidden_layers; ++i) {
    const DeviceLayer& layer = model_->layers()[static_cast<size_t>(i)];
    error(norm(d.hidden, layer.attention_norm, count));
    error(multiply(layer.qkv, count, s.hidden_size, model_->qkv_width(), d.qkv, false));
    error(k.rope_and_store(
        {rows, count, d.qkv, layer.qkv_bias, s.num_attention_heads, i, d.cosines, d.sines, d.cache}, stream));
    error(k.attend(
        {rows, count, d.qkv, s.num_attention_heads, i, scale, d.cache, tiles, d.parts, d.x, model_->type()},
        stream));
    error(multiply(layer.attention_out, count, model_->query_width(), s.hidden_size, d.hidden, true));
    error(norm(d.hidden, layer.mlp_norm, count));
    error(multiply(layer.gate_up, count, s.hidden_size, 2 * s.intermediate_size, d.gate_up, false));
    error(k.swiglu(d.gate_up, count, s.intermediate_size, model_->type(), d.x, stream));
    error(multiply(layer.down, count, s.intermediate_size, s.hidden_size, d.hidden, true));
  }
  return error.get();
}

// One token for each of the first `rows` places that are live.
int DeviceDecoder::step(int64_t rows) {
  const ModelSpec& s = model_->spec();
  const Device& d = *device_;
  FirstError error;
  error(layers(d.rows, rows, tiles_));
  error(norm(d.hidden, model_->final_norm(), rows));
  error(multiply(model_->head(), rows, s.hidden_size, s.vocab_size, d.logits, false));
  error(model_->kernels().draw(
      {d.logits, nullptr, nullptr, rows, s.vocab_size, d.rows, d.slots, d.part_max, d.part_id, d.block_sums},
      work_->stream()));
  return error.get();
}

// Records a step. It runs once before, over rows that are not live: libraries load their code when it is
// first called, which a recording does not allow.
Status DeviceDecoder::record(int64_t rows) {
  OwnedGraph& graph = graphs_[rows];
  if (graph != nullptr) return ok_status();
  const kernels::DecodeKernels& k = model_->kernels();
  FirstError error;
  error(k.clear(device_->rows, device_->state_bytes, work_->stream()));
  error(step(rows));
  TRY_DO(look(error.get(), "a step cannot run"));
  TRY_DO(look(k.begin_capture(work_->stream()), "a step cannot be recorded"));
  error(step(rows));
  kernels::DeviceGraph recorded = nullptr;
  error(k.end_capture(work_->stream(), &recorded));
  if (recorded != nullptr) graph = OwnedGraph(recorded, FreeGraph{k.destroy_graph});
  return look(error.get(), "a step cannot be recorded");
}

Status DeviceDecoder::prefill(std::span<const DevicePrompt> prompts, const std::stop_token& stop) {
  const kernels::DecodeKernels& k = model_->kernels();
  int64_t total = 0;
  for (const DevicePrompt& p : prompts) total += static_cast<int64_t>(p.ids.size());
  if (total > prompt_rows_room_) {
    TRY(memory, page_locked_bytes(k, total * int64_t{sizeof(DeviceRow)}));
    prompt_rows_ = std::move(memory);
    prompt_rows_room_ = total;
  }
  auto* rows = static_cast<DeviceRow*>(prompt_rows_.get());
  std::vector<int64_t> lasts;
  int64_t n = 0;
  for (const DevicePrompt& p : prompts) {
    for (size_t i = 0; i < p.ids.size(); ++i) rows[n++] = {p.ids[i], static_cast<int32_t>(i), p.table, 1};
    lasts.push_back(n - 1);
  }
  int64_t ended = 0, looked = 0;  // prompts whose logits are there; rows at the last look
  for (int64_t begin = 0; begin < total; begin += kChunkRows) {
    const int64_t count = std::min(kChunkRows, total - begin);
    std::vector<int64_t> here;
    for (size_t i = static_cast<size_t>(ended); i < lasts.size() && lasts[i] < begin + count; ++i)
      here.push_back(lasts[i] - begin);
    TRY_DO(prefill_chunk({rows + begin, static_cast<size_t>(count)}, here, ended));
    ended += static_cast<int64_t>(here.size());
    if (begin + count - looked < kRowsBetweenLooks) continue;
    looked = begin + count;
    TRY_DO(look(k.synchronise(work_->stream()), "a prompt cannot run"));
    if (stop.stop_requested()) return cancelled("the generation was cancelled");
  }
  return ok_status();
}

// Logits of the rows `lasts`, from `first_logits` on.
Status DeviceDecoder::prefill_chunk(std::span<const DeviceRow> rows, std::span<const int64_t> lasts,
                                    int64_t first_logits) {
  const kernels::DecodeKernels& k = model_->kernels();
  const ModelSpec& s = model_->spec();
  const Device& d = *device_;
  const int64_t hidden_bytes = s.hidden_size * int64_t{sizeof(float)};
  FirstError error;
  error(k.upload(d.prompt_rows, rows.data(), static_cast<int64_t>(rows.size_bytes()), work_->stream()));
  error(layers(d.prompt_rows, static_cast<int64_t>(rows.size()), 0));
  const auto count = static_cast<int64_t>(lasts.size());
  for (int64_t i = 0; i < count; ++i) {
    error(k.copy(d.last_hidden + i * s.hidden_size, d.hidden + lasts[static_cast<size_t>(i)] * s.hidden_size,
                 hidden_bytes, work_->stream()));
  }
  if (count > 0) {
    error(norm(d.last_hidden, model_->final_norm(), count));
    error(multiply(model_->head(), count, s.hidden_size, s.vocab_size, d.logits + first_logits * s.vocab_size,
                   false));
  }
  return look(error.get(), "a prompt cannot run");
}

Status DeviceDecoder::copy_page(int32_t from, int32_t to) {
  const kernels::PagedCache& c = device_->cache;
  const int64_t bytes = c.page_elements * type_bytes(c.type);
  auto* pages = static_cast<std::byte*>(c.pages);
  return look(model_->kernels().copy(pages + to * bytes, pages + from * bytes, bytes, work_->stream()),
              "a page cannot be copied");
}

Status DeviceDecoder::draw_first(std::span<const FirstDraw> draws) {
  const kernels::DecodeKernels& k = model_->kernels();
  const Device& d = *device_;
  const auto count = static_cast<int64_t>(draws.size());
  for (int64_t i = 0; i < count; ++i) {
    host_draws_[i] = draws[static_cast<size_t>(i)].logits;
    host_draws_[places_room_ + i] = draws[static_cast<size_t>(i)].place;
  }
  FirstError error;
  error(k.upload(d.draws, host_draws_, 2 * places_room_ * int64_t{sizeof(int32_t)}, work_->stream()));
  error(k.draw({d.logits, d.draws, d.draws + places_room_, count, model_->spec().vocab_size, d.rows, d.slots,
                d.part_max, d.part_id, d.block_sums},
               work_->stream()));
  return look(error.get(), "first tokens cannot be drawn");
}

Status DeviceDecoder::keep_logits(int32_t prompt) {
  const int64_t n = model_->spec().vocab_size;
  return look(model_->kernels().copy(device_->logits + places_room_ * n, device_->logits + prompt * n,
                                     n * int64_t{sizeof(float)}, work_->stream()),
              "logits cannot be kept");
}

// One recorded step is launched several times: recording all as one would take that many times longer and
// save the microseconds between two of them.
Status DeviceDecoder::run_steps() {
  const kernels::DecodeKernels& k = model_->kernels();
  const int64_t rows = recorded_rows(in_use_);
  FirstError error;
  for (int64_t i = 0; i < options_.steps; ++i)
    error(options_.recorded ? k.launch(graphs_.at(rows).get(), work_->stream()) : step(rows));
  error(k.download(host_rows_, device_->rows, device_->state_bytes, work_->stream()));
  error(k.synchronise(work_->stream()));
  return look(error.get(), "a step cannot run");
}

Status DeviceDecoder::read_logits(int32_t row, std::span<float> out) {
  const kernels::DecodeKernels& k = model_->kernels();
  FirstError error;
  error(k.download(out.data(), device_->logits + row * model_->spec().vocab_size,
                   static_cast<int64_t>(out.size_bytes()), work_->stream()));
  error(k.synchronise(work_->stream()));
  return look(error.get(), "logits cannot be read");
}

}  // namespace fulcrum
