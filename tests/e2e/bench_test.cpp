// `./dev bench` as a program: it leaves nothing behind.
#include <cerrno>

#include "tests/support/process.h"

namespace fulcrum::testing {
namespace {

// bench/run.py with a bench that starts one process and waits for it; its pid goes into the file.
std::string endless_bench(const std::filesystem::path& pid_file) {
  return "import sys\n"
         "sys.path.insert(0, '" +
         (source_folder() / "bench").string() +
         "')\n"
         "import measure, run\n"
         "from pathlib import Path\n"
         "command = ['/bin/sh', '-c', 'echo $$ >" +
         pid_file.string() +
         "; exec sleep 1000']\n"
         "run.measure = lambda given: measure.run_once(command, Path('" +
         pid_file.string() +
         ".log'))\n"
         "sys.argv = ['run.py']\n"
         "sys.exit(run.main())\n";
}

TEST(Bench, EndsWhatItStartedWhenItIsStopped) {
  const TempFolder folder;
  const auto pid_file = folder.path() / "pid";
  Process bench({"/usr/bin/env", "python3", "-c", endless_bench(pid_file)}, folder.path() / "bench");
  ASSERT_TRUE(eventually([&] { return slurp(pid_file).ends_with('\n'); })) << bench.err();
  const pid_t child = std::stoi(slurp(pid_file));
  ASSERT_EQ(::kill(child, 0), 0);
  bench.signal(SIGTERM);
  EXPECT_EQ(bench.wait(std::chrono::seconds(60)), 128 + SIGTERM) << bench.err();
  const bool gone = ::kill(child, 0) == -1 && errno == ESRCH;
  EXPECT_TRUE(gone);
  if (!gone) ::kill(child, SIGKILL);
}

}  // namespace
}  // namespace fulcrum::testing
