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

// What is a part of a package goes by a name of its own.
TEST(Bench, EveryPeerOfTheHeadsLinesCanBeAskedFor) {
  const TempFolder folder;
  const Finished listed = run({"/usr/bin/env", "python3", "-c",
                               "import sys\n"
                               "sys.path.insert(0, '" +
                                   (source_folder() / "bench").string() +
                                   "')\n"
                                   "import bench_head, run\n"
                                   "for _, peer, _, _ in bench_head.LOSS + bench_head.DIVERGENCE:\n"
                                   "    sys.argv = ['run.py', '--peer', peer]\n"
                                   "    run.check(run.parse())\n"
                                   "print('liger-chunked' in run.PEERS, 'liger-kernel' in run.PEERS)\n"},
                              folder.path() / "listed");
  EXPECT_EQ(listed.code, 0) << listed.err;
  EXPECT_EQ(listed.out, "True False\n");
}

// The disk is where there is no tmpfs, and where it has too little room.
TEST(Bench, SoupReadsAndWritesInMemoryWhereThereIsRoomAndLeavesNothingThere) {
  const TempFolder folder;
  const Finished said =
      run({"/usr/bin/env", "python3", "-c",
           "import sys\n"
           "sys.path.insert(0, '" +
               (source_folder() / "bench").string() +
               "')\n"
               "import bench_soup\n"
               "from pathlib import Path\n"
               "model = Path('" +
               folder.path().string() +
               "') / 'model'\n"
               "model.mkdir()\n"
               "(model / 'weights').write_text('w')\n"
               "def look(memory, room, needed):\n"
               "    bench_soup.MEMORY = memory\n"
               "    if room is not None: bench_soup._has_room = lambda needed: room\n"
               "    with bench_soup._files([model], needed) as (parts, where):\n"
               "        print(where, parts[0] == model, (parts[0] / 'weights').read_text())\n"
               "memory = model.parent / 'memory'\n"
               "memory.mkdir()\n"
               "look(memory, None, 1)\n"
               "look(Path('/dev/shm'), None, 1 << 60)\n"
               "look(memory, True, 1)\n"
               "print(list(memory.iterdir()))\n"},
          folder.path() / "said");
  EXPECT_EQ(said.out,
            "files on a disk, page cache warm True w\nfiles on a disk, page cache warm True w\n"
            "files in memory False w\n[]\n")
      << said.err;
}

// bench/setting.py on a line whose measurements differ from themselves by these percents, one after another:
// prints the repeats of each, and how it ended.
std::string judged_line(const std::string& percents) {
  return "import sys\n"
         "sys.path.insert(0, '" +
         (source_folder() / "bench").string() +
         "')\n"
         "from pathlib import Path\n"
         "from setting import Setting\n"
         "setting = Setting(Path('x'), Path('x'), Path('x'), 7)\n"
         "percents, repeats = " +
         percents +
         ", []\n"
         "def line():\n"
         "    repeats.append(setting.repeats)\n"
         "    return {'aa_percent': percents[len(repeats) - 1], 'foreign_cores': 0}\n"
         "given = list(setting.guarded('a line', None, line))\n"
         "print(len(given), repeats, setting.repeats, *setting.refused)\n";
}

TEST(Bench, MeasuresAnUnsteadyLineOnceMoreAndThenRefusesIt) {
  const TempFolder folder;
  const auto said = [&](const std::string& percents) {
    Process python({"/usr/bin/env", "python3", "-c", judged_line(percents)}, folder.path() / "bench");
    EXPECT_EQ(python.wait(std::chrono::seconds(60)), 0) << python.err();
    return python.out();
  };
  EXPECT_EQ(said("[4.9]"), "1 [7] 7\n");
  EXPECT_EQ(said("[5.1, 4.9]"), "1 [7, 14] 7\n");
  EXPECT_EQ(said("[5.1, 5.1]"), "0 [7, 14] 7 a line\n");
}

}  // namespace
}  // namespace fulcrum::testing
