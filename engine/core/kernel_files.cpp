#include "engine/core/kernel_files.h"

#include <fstream>
#include <sstream>

#include "engine/core/text.h"

namespace fulcrum {

std::string read_kernel_file(const Path& path) {
  const std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  return text.str();
}

std::string cgroup_of(std::string_view proc_self_cgroup) {
  for (const std::string& line : split(proc_self_cgroup, '\n')) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return {};
}

void for_each_cgroup(const Path& root, const std::string& cgroup,
                     const std::function<void(const Path&)>& look) {
  Path folder = root;
  look(folder);
  for (const Path& part : Path(cgroup).relative_path()) {
    if (part == "..") return;  // outside of what this process can see
    folder /= part;
    look(folder);
  }
}

}  // namespace fulcrum
