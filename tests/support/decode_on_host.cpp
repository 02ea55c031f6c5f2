#include "tests/support/decode_on_host.h"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "engine/core/half.h"
#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/device/cuda_ops.h"

namespace fulcrum::testing {
namespace {

using kernels::ActivationType;
using kernels::DeviceGraph;
using kernels::DeviceProducts;
using kernels::DeviceStream;
using kernels::Product;

constexpr int kWrongUse = 1;

using Recording = std::vector<std::function<int()>>;

HostDevice device;
std::map<void*, int64_t> held;         // memory of the device, and its bytes
std::unique_ptr<Recording> recording;  // while work is recorded

// Runs `work` or records it.
int put(std::function<int()> work) {
  if (recording == nullptr) return work();
  recording->push_back(std::move(work));
  return 0;
}

// kFunction of the same arguments, put.
template <auto kFunction>
struct Put;
template <class... A, int (*kFunction)(A...)>
struct Put<kFunction> {
  static int call(A... arguments) {
    return put(
        [copies = std::tuple<std::decay_t<A>...>(arguments...)] { return std::apply(kFunction, copies); });
  }
};

const char* error_text(int error) {
  return error == kernels::kDeviceOutOfMemory ? "out of memory" : "wrong use";
}
int use_device(int32_t) { return 0; }

// Bytes of ones: as numbers NaN, as indices far outside.
int allocate(int64_t bytes, void** memory) {
  if (recording != nullptr) return kWrongUse;
  if (device.allocated + bytes > device.memory) return kernels::kDeviceOutOfMemory;
  *memory = std::aligned_alloc(256, static_cast<size_t>(kernels::round_up(bytes, 256)));
  std::memset(*memory, 0xFF, static_cast<size_t>(bytes));
  held[*memory] = bytes;
  device.allocated += bytes;
  return 0;
}
void free_memory_of(void* memory) {
  device.allocated -= held.at(memory);
  held.erase(memory);
  std::free(memory);
}
int allocate_host(int64_t bytes, void** memory) {
  *memory = std::aligned_alloc(256, static_cast<size_t>(kernels::round_up(bytes, 256)));
  std::memset(*memory, 0xFF, static_cast<size_t>(bytes));
  return 0;
}
int free_memory(int64_t* bytes) {
  *bytes = device.memory - device.allocated;
  return 0;
}

int make_stream(DeviceStream* stream) {
  *stream = new int(0);
  return 0;
}
void destroy_stream(DeviceStream stream) { delete static_cast<int*>(stream); }

int copy(void* to, const void* from, int64_t bytes, DeviceStream) {
  ++device.copies;
  std::memcpy(to, from, static_cast<size_t>(bytes));
  return 0;
}
int clear(void* memory, int64_t bytes, DeviceStream) {
  std::memset(memory, 0, static_cast<size_t>(bytes));
  return 0;
}
int synchronise(DeviceStream) {
  if (recording != nullptr) return kWrongUse;
  ++device.synchronisations;
  return 0;
}

int begin_capture(DeviceStream) {
  if (recording != nullptr) return kWrongUse;
  recording = std::make_unique<Recording>();
  return 0;
}
int end_capture(DeviceStream, DeviceGraph* graph) {
  if (recording == nullptr) return kWrongUse;
  ++device.graphs;
  *graph = recording.release();
  return 0;
}
int launch(DeviceGraph graph, DeviceStream) {
  ++device.launches;
  if (device.fails_at_launch != 0) return device.fails_at_launch;
  for (const auto& work : *static_cast<Recording*>(graph)) {
    if (const int error = work(); error != 0) return error;
  }
  return 0;
}
void destroy_graph(DeviceGraph graph) { delete static_cast<Recording*>(graph); }

int make_products(DeviceStream, DeviceProducts* products) {
  *products = new int(0);
  return 0;
}
void destroy_products(DeviceProducts products) { delete static_cast<int*>(products); }

float number(const void* numbers, int64_t i, ActivationType type) {
  return type == ActivationType::kBf16 ? bf16_to_float(static_cast<const uint16_t*>(numbers)[i])
                                       : static_cast<const float*>(numbers)[i];
}

// In the open order, which is cuBLAS's on a device: one after the other.
int product(DeviceProducts products, const Product& in, DeviceStream stream) {
  if (in.fixed_order) return kernels::cuda::product_rows(in, stream);
  if (products == nullptr) return kWrongUse;
  for (int64_t r = 0; r < in.rows; ++r) {
    for (int64_t o = 0; o < in.outputs; ++o) {
      float sum = 0;
      for (int64_t i = 0; i < in.inputs; ++i)
        sum += number(in.x, r * in.inputs + i, in.type) * number(in.weights, o * in.inputs + i, in.type);
      float& y = in.y[r * in.outputs + o];
      y = in.add ? y + sum : sum;
    }
  }
  return 0;
}

int embed(const kernels::EmbedRows& in, DeviceStream stream) {
  for (int64_t i = 0; i < in.count; ++i) device.tokens_embedded += in.rows[i].live;
  return kernels::cuda::embed_rows(in, stream);
}

constexpr kernels::DecodeKernels kKernels = {.error_text = error_text,
                                             .use_device = use_device,
                                             .allocate = allocate,
                                             .free = free_memory_of,
                                             .allocate_host = allocate_host,
                                             .free_host = std::free,
                                             .free_memory = free_memory,
                                             .make_stream = make_stream,
                                             .destroy_stream = destroy_stream,
                                             .upload = Put<copy>::call,
                                             .download = Put<copy>::call,
                                             .copy = Put<copy>::call,
                                             .clear = Put<clear>::call,
                                             .synchronise = synchronise,
                                             .begin_capture = begin_capture,
                                             .end_capture = end_capture,
                                             .launch = launch,
                                             .destroy_graph = destroy_graph,
                                             .make_products = make_products,
                                             .destroy_products = destroy_products,
                                             .product = Put<product>::call,
                                             .embed = Put<embed>::call,
                                             .rope_and_store = Put<kernels::cuda::rope_and_store>::call,
                                             .attend = Put<kernels::cuda::attend_rows>::call,
                                             .draw = Put<kernels::cuda::draw_rows>::call,
                                             .rmsnorm = Put<kernels::cuda::rmsnorm>::call,
                                             .swiglu = Put<kernels::cuda::swiglu>::call};

}  // namespace

HostDevice& new_host_device() {
  const int64_t allocated = device.allocated;
  device = HostDevice{};
  device.allocated = allocated;
  return device;
}
HostDevice& host_device() { return device; }
const kernels::DecodeKernels& host_decode_kernels() { return kKernels; }

}  // namespace fulcrum::testing
