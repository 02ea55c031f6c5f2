#include "engine/kernels/device/plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/support/test_data.h"

namespace fulcrum::kernels {
namespace {

using ::testing::HasSubstr;

Path fake(const std::string& name) { return testing::build_folder() / "tests" / ("lib" + name + ".so"); }

// The message of the refusal of one that is there or not.
std::string refusal(const Path& path) {
  const auto opened = open_plugin(path);
  EXPECT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(opened.status().message().find('\n'), std::string::npos);
  EXPECT_THAT(opened.status().message(), HasSubstr(path.filename().string()));
  return opened.status().message();
}

TEST(CudaPlugin, OneOfAnotherBuildIsRefusedByItsName) {
  const std::string why = refusal(fake("plugin_of_another_build"));
  EXPECT_THAT(why, HasSubstr("0.0.9-of-long-ago"));
  EXPECT_THAT(why, HasSubstr(plugin_build()));
}

TEST(CudaPlugin, ALibraryThatIsNoneIsRefused) {
  EXPECT_THAT(refusal(fake("plugin_without_its_function")), HasSubstr("no function fulcrum_cuda_plugin"));
}

// dlopen() of it dies of SIGBUS.
TEST(CudaPlugin, ALibraryThatIsCutShortIsRefused) {
  const std::string whole = read_file(fake("plugin_of_another_build")).value();
  const Path path = Path(::testing::TempDir()) / "cut_short.so";
  for (const size_t size : {whole.size() - 1, whole.size() / 2, size_t{4097}, size_t{64}}) {
    ASSERT_TRUE(write_file_atomic(path, whole.substr(0, size)).ok());
    EXPECT_THAT(refusal(path), HasSubstr("is cut short: build or copy it again")) << size;
  }
}

TEST(CudaPlugin, AFileThatIsNoLibraryIsRefused) {
  const Path path = Path(::testing::TempDir()) / "no_library.so";
  ASSERT_TRUE(write_file_atomic(path, "this is no library").ok());
  EXPECT_THAT(refusal(path), HasSubstr("cannot be loaded"));
}

TEST(CudaPlugin, AMissingOneIsNamed) {
  EXPECT_THAT(refusal("/nowhere/libfulcrum_cuda.so"),
              HasSubstr("'/nowhere/libfulcrum_cuda.so' is not there"));
}

TEST(CudaPlugin, ItsBuildIsTheVersionAndAHashOfTheInterface) {
  const std::string build = plugin_build();
  ASSERT_EQ(build.find(FULCRUM_VERSION "-"), 0u) << build;
  EXPECT_EQ(build.size(), std::strlen(FULCRUM_VERSION) + 1 + 12);
}

TEST(CudaPlugin, BelongsBesideTheProgram) {
  EXPECT_EQ(plugin_path(), testing::build_folder() / "tests" / "libfulcrum_cuda.so");
}

#ifdef FULCRUM_HAS_CUDA_PLUGIN
// It needs the CUDA runtime's library, no driver and no GPU.
TEST(CudaPlugin, TheOneOfThisBuildOpensAndHasEveryKernel) {
  const Path path = testing::build_folder() / "bin" / "libfulcrum_cuda.so";
  const auto opened = open_plugin(path);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  EXPECT_STREQ((*opened)->build, plugin_build());
  std::vector<void*> members(sizeof(DeviceKernels) / sizeof(void*));
  std::memcpy(members.data(), (*opened)->kernels, sizeof(DeviceKernels));
  for (const void* member : members) EXPECT_NE(member, nullptr);
  members.resize(sizeof(DecodeKernels) / sizeof(void*));
  std::memcpy(members.data(), (*opened)->decode, sizeof(DecodeKernels));
  for (const void* member : members) EXPECT_NE(member, nullptr);
  EXPECT_STREQ((*opened)->kernels->error_text(0), "no error");
  EXPECT_STREQ((*opened)->decode->error_text(0), "no error");
  EXPECT_EQ(open_plugin(path).value(), *opened);
}

// NCCL is opened at the first use: without it the plugin says so.
TEST(CudaPlugin, HasTheSumsOfAGroupOrSaysWhyNot) {
  const auto opened = open_plugin(testing::build_folder() / "bin" / "libfulcrum_cuda.so");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  std::vector<void*> members(sizeof(DeviceGroup) / sizeof(void*));
  std::memcpy(members.data(), (*opened)->group, sizeof(DeviceGroup));
  for (const void* member : members) EXPECT_NE(member, nullptr);
  GroupText why{};
  if ((*opened)->group->usable(&why) == GroupState::kDone) {
    EXPECT_STREQ(why.text, "");
  } else {
    EXPECT_THAT(why.text, HasSubstr("NCCL"));
  }
}

// Empty work reaches no device.
TEST(CudaPlugin, TakesEmptyWorkWithoutADevice) {
  const auto opened = open_plugin(testing::build_folder() / "bin" / "libfulcrum_cuda.so");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const DeviceKernels& kernels = *(*opened)->kernels;
  EXPECT_EQ(kernels.adamw({}, {}, {}, nullptr), 0);
  EXPECT_EQ(kernels.rmsnorm({}, ActivationType::kBf16, nullptr, nullptr), 0);
  EXPECT_EQ(kernels.divergences({}, nullptr, nullptr), 0);
}
#endif

}  // namespace
}  // namespace fulcrum::kernels
