// A stand-in for NVIDIA's driver (libcuda.so.1) with as much of its interface as
// engine/kernels/device/driver.cpp asks for. FAKE_GPUS: how many; FAKE_CAPABILITY: 90 is 9.0, "75,90" of two;
// FAKE_CUDA: 13000 is 13.0; FAKE_ERROR: what cuInit gives.
#include <cstdlib>
#include <cstring>

namespace {

int number(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atoi(text);
}

}  // namespace

extern "C" {
__attribute__((visibility("default"))) int cuInit(unsigned) { return number("FAKE_ERROR", 0); }
__attribute__((visibility("default"))) int cuDriverGetVersion(int* version) {
  *version = number("FAKE_CUDA", 13000);
  return 0;
}
__attribute__((visibility("default"))) int cuDeviceGetCount(int* count) {
  *count = number("FAKE_GPUS", 1);
  return 0;
}
__attribute__((visibility("default"))) int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return 0;
}
__attribute__((visibility("default"))) int cuDeviceGetName(char* name, int length, int) {
  std::strncpy(name, "Stand-in \x1b[31m9000", static_cast<size_t>(length));
  return 0;
}
__attribute__((visibility("default"))) int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = size_t{80} << 30;
  return 0;
}
__attribute__((visibility("default"))) int cuDeviceGetAttribute(int* value, int attribute, int device) {
  const char* text = std::getenv("FAKE_CAPABILITY");
  for (; text != nullptr && device > 0; --device)
    text = std::strchr(text, ',') != nullptr ? std::strchr(text, ',') + 1 : text;
  const int capability = text == nullptr ? 90 : std::atoi(text);
  *value = attribute == 75 ? capability / 10 : capability % 10;
  return 0;
}
__attribute__((visibility("default"))) int cuGetErrorName(int error, const char** name) {
  *name = error == 999 ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR_OTHER";
  return 0;
}
}
