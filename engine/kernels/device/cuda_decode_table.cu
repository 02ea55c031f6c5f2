// The table of a CUDA device: the runtime's memory, streams and graphs, and cuBLAS for products of many rows
// whose order is left open.
#include "engine/kernels/device/launch.h"

#ifndef FULCRUM_CUDA_ON_HOST  // where kernels run on the CPU, the test's table has memory of its own

#include <memory>

#include "engine/kernels/device/cublas.h"
#include "engine/kernels/device/cuda_decode_ops.h"
#include "engine/kernels/device/cuda_ops.h"

namespace fulcrum::kernels {
namespace {

using cuda::Cublas;
using cuda::cublas;

// Up to here a product is bound by reading the weights, which the own kernel does once.
constexpr int64_t kOwnRows = 8;
constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what cuBLAS asks for on sm_90

const char* error_text(int error) {
  if (error == Cublas::kNotThere) return "libcublas.so.13 is not there or lacks a function";
  if (error >= Cublas::kErrors) return "cuBLAS refused a product";
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

int use_device(int32_t device) { return noted(cudaSetDevice(device)); }
int allocate(int64_t bytes, void** memory) { return noted(cudaMalloc(memory, static_cast<size_t>(bytes))); }
void free_memory_of(void* memory) { static_cast<void>(cudaFree(memory)); }
int allocate_host(int64_t bytes, void** memory) {
  return noted(cudaMallocHost(memory, static_cast<size_t>(bytes)));
}
void free_host(void* memory) { static_cast<void>(cudaFreeHost(memory)); }
int free_memory(int64_t* bytes) {
  size_t free = 0, total = 0;
  const int error = noted(cudaMemGetInfo(&free, &total));
  *bytes = static_cast<int64_t>(free);
  return error;
}

cudaStream_t of(DeviceStream stream) { return static_cast<cudaStream_t>(stream); }
int make_stream(DeviceStream* stream) {
  cudaStream_t made = nullptr;
  const int error = noted(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
  *stream = made;
  return error;
}
void destroy_stream(DeviceStream stream) { static_cast<void>(cudaStreamDestroy(of(stream))); }

template <cudaMemcpyKind kKind>
int copy_bytes(void* to, const void* from, int64_t bytes, DeviceStream stream) {
  return noted(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), kKind, of(stream)));
}
int clear(void* memory, int64_t bytes, DeviceStream stream) {
  return noted(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), of(stream)));
}
int synchronise(DeviceStream stream) { return noted(cudaStreamSynchronize(of(stream))); }

// Other threads may allocate meanwhile: the learner's, on the same device.
int begin_capture(DeviceStream stream) {
  return noted(cudaStreamBeginCapture(of(stream), cudaStreamCaptureModeThreadLocal));
}
int end_capture(DeviceStream stream, DeviceGraph* graph) {
  cudaGraph_t recorded = nullptr;
  if (const int error = noted(cudaStreamEndCapture(of(stream), &recorded)); error != cudaSuccess)
    return error;
  cudaGraphExec_t ready = nullptr;
  const int error = noted(cudaGraphInstantiate(&ready, recorded, 0));
  static_cast<void>(cudaGraphDestroy(recorded));
  *graph = ready;
  return error;
}
int launch_graph(DeviceGraph graph, DeviceStream stream) {
  return noted(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), of(stream)));
}
void destroy_graph(DeviceGraph graph) {
  static_cast<void>(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)));
}

// cuBLAS's handle, and the workspace that a recording needs to be its own.
struct Products {
  Cublas::Handle handle = nullptr;
  void* workspace = nullptr;

  ~Products() {
    if (handle != nullptr) cublas()->destroy(handle);
    if (workspace != nullptr) cudaFree(workspace);
  }
};

int of_cublas(int status) { return status == 0 ? 0 : Cublas::kErrors + status; }

// Without the library every product is the own kernel's.
int make_products(DeviceStream stream, DeviceProducts* products) {
  auto made = std::make_unique<Products>();
  if (cublas() != nullptr) {
    if (const int error = of_cublas(cublas()->create(&made->handle)); error != 0) return error;
    if (const int error = allocate(kWorkspaceBytes, &made->workspace); error != 0) return error;
    if (const int error = of_cublas(cublas()->set_stream(made->handle, stream)); error != 0) return error;
    const int error = of_cublas(cublas()->set_workspace(made->handle, made->workspace, kWorkspaceBytes));
    if (error != 0) return error;
  }
  *products = made.release();
  return 0;
}
void destroy_products(DeviceProducts products) { delete static_cast<Products*>(products); }

// cuBLAS counts columns first: y^T = W x^T, where W's rows are its columns.
int product(DeviceProducts products, const Product& in, DeviceStream stream) {
  if (in.fixed_order || in.rows <= kOwnRows || products == nullptr) return cuda::product_rows(in, stream);
  const Cublas::Handle handle = static_cast<Products*>(products)->handle;
  if (handle == nullptr) return cuda::product_rows(in, stream);
  const int type = in.type == ActivationType::kBf16 ? Cublas::kBf16 : Cublas::kFp32;
  const int compute = in.type == ActivationType::kBf16 ? Cublas::kComputeFp32 : Cublas::kComputeFp32Strictly;
  const float one = 1, kept = in.add ? 1.0f : 0.0f;
  const int inputs = static_cast<int>(in.inputs), outputs = static_cast<int>(in.outputs);
  return of_cublas(cublas()->gemm(handle, Cublas::kTransposed, Cublas::kNotTransposed, outputs,
                                  static_cast<int>(in.rows), inputs, &one, in.weights, type, inputs, in.x,
                                  type, inputs, &kept, in.y, Cublas::kFp32, outputs, compute,
                                  Cublas::kDefaultAlgorithm));
}

constexpr DecodeKernels kKernels = {.error_text = error_text,
                                    .use_device = use_device,
                                    .allocate = allocate,
                                    .free = free_memory_of,
                                    .allocate_host = allocate_host,
                                    .free_host = free_host,
                                    .free_memory = free_memory,
                                    .make_stream = make_stream,
                                    .destroy_stream = destroy_stream,
                                    .upload = copy_bytes<cudaMemcpyHostToDevice>,
                                    .download = copy_bytes<cudaMemcpyDeviceToHost>,
                                    .copy = copy_bytes<cudaMemcpyDeviceToDevice>,
                                    .clear = clear,
                                    .synchronise = synchronise,
                                    .begin_capture = begin_capture,
                                    .end_capture = end_capture,
                                    .launch = launch_graph,
                                    .destroy_graph = destroy_graph,
                                    .make_products = make_products,
                                    .destroy_products = destroy_products,
                                    .product = product,
                                    .embed = cuda::embed_rows,
                                    .rope_and_store = cuda::rope_and_store,
                                    .attend = cuda::attend_rows,
                                    .draw = cuda::draw_rows,
                                    .rmsnorm = cuda::rmsnorm,
                                    .swiglu = cuda::swiglu};

}  // namespace

const DecodeKernels& cuda_decode_kernels() { return kKernels; }

}  // namespace fulcrum::kernels

#endif
