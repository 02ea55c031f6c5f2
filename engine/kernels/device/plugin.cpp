#include "engine/kernels/device/plugin.h"

#include <dlfcn.h>
#include <elf.h>

#include <cstring>
#include <fstream>
#include <string_view>
#include <system_error>

#include "engine/core/text.h"

namespace fulcrum::kernels {

const char* plugin_build() { return FULCRUM_PLUGIN_BUILD; }

Path plugin_path() {
  std::error_code error;
  const Path program = std::filesystem::read_symlink("/proc/self/exe", error);
  return program.parent_path() / "libfulcrum_cuda.so";  // without /proc: in the working folder
}

namespace {

// Whether the file ends before its table of sections, which stands at its end: dlopen() maps what the header
// promises, and who touches a page behind the end of the file gets SIGBUS.
bool is_cut_short(const Path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  Elf64_Ehdr header{};
  if (error || !file.read(reinterpret_cast<char*>(&header), sizeof header)) return false;
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return false;  // dlopen() says what it is not
  const uint64_t table = uint64_t{header.e_shentsize} * header.e_shnum;
  return header.e_shoff > size || table > size - header.e_shoff;
}

}  // namespace

Result<const CudaPlugin*> open_plugin(const Path& path) {
  const auto refused = [&](const std::string& why) {
    return failed_precondition("the CUDA plugin " + in_quotes(path.string()) + " " + why);
  };
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    return refused("is not there: build it with ./dev build, which needs no GPU");
  if (is_cut_short(path)) return refused("is cut short: build or copy it again");
  // With a slash, or the name would be looked for in the system's folders.
  void* library = dlopen(std::filesystem::absolute(path, error).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return refused("cannot be loaded: " + in_quotes(dlerror()));
  const auto get = reinterpret_cast<const CudaPlugin* (*)()>(dlsym(library, "fulcrum_cuda_plugin"));
  const auto closed = [&](const std::string& why) {
    dlclose(library);
    return refused(why);
  };
  if (get == nullptr) return closed("has no function fulcrum_cuda_plugin: it is another library");
  const CudaPlugin* plugin = get();
  if (plugin == nullptr || plugin->build == nullptr) return closed("does not say which build it is of");
  const std::string build = plugin->build;
  if (build != plugin_build()) {
    return closed("is of build " + in_quotes(build) + " and this program of " + in_quotes(plugin_build()) +
                  ": build them together");
  }
  return plugin;  // it stays open: its kernels are in use until the process ends
}

}  // namespace fulcrum::kernels
