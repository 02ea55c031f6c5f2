#include "engine/rpc/auth.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>

#include "fulcrum/v1/job.pb.h"
#include "fulcrum/v1/monitor.pb.h"
#include "fulcrum/v1/reward.pb.h"
#include "fulcrum/v1/rollout.pb.h"
#include "fulcrum/v1/weights.pb.h"
#include "tests/support/rpc_test.h"
#include "tests/support/test_data.h"

namespace fulcrum {
namespace {

using ::testing::HasSubstr;
using namespace ::fulcrum::testing;

std::vector<std::string> every_method() {
  std::vector<std::string> methods;
  for (const google::protobuf::FileDescriptor* file :
       {v1::Job::descriptor()->file(), v1::WorkerInfo::descriptor()->file(),
        v1::RewardItem::descriptor()->file(), v1::Lease::descriptor()->file(),
        v1::Manifest::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        methods.push_back("/" + file->service(s)->full_name() + "/" + file->service(s)->method(m)->name());
      }
    }
  }
  return methods;
}

std::string bearer(const std::string& token) { return "Bearer " + token; }

Gate tokens() {
  const TempFolder folder;
  auto gate = Gate::from_file(write_tokens(folder.path()));
  EXPECT_TRUE(gate.ok()) << gate.status().message();
  return *gate;
}

TEST(Auth, EveryRpcHasARowAndEveryRowAnRpc) {
  std::vector<std::string> rows, methods = every_method();
  for (const Permission& p : permission_table()) {
    if (p.method.starts_with("/fulcrum.")) rows.emplace_back(p.method);
  }
  EXPECT_THAT(rows, ::testing::UnorderedElementsAreArray(methods));
  EXPECT_EQ(methods.size(), 17u);
}

TEST(Auth, EachRoleMayDoWhatItsRowsSayAndNothingElse) {
  const Gate gate = tokens();
  const std::map<uint32_t, std::string> credentials = {
      {kRoleViewer, kViewerToken}, {kRoleWorker, kWorkerToken}, {kRoleOperator, kOperatorToken}};
  for (const Permission& row : permission_table()) {
    for (const auto& [role, token] : credentials) {
      const bool may = row.roles == kRoleNone || (row.roles & role) != 0;
      EXPECT_EQ(gate.check(row.method, bearer(token)).code(), may ? Code::kOk : Code::kPermissionDenied)
          << row.method << " as role " << role;
    }
    EXPECT_EQ(gate.check(row.method, "").ok(), row.roles == kRoleNone) << row.method;
    EXPECT_EQ(gate.check(row.method, bearer("nobody")).ok(), row.roles == kRoleNone) << row.method;
  }
}

TEST(Auth, AWorkerNeitherSubmitsNorReadsJobsAndAViewerChangesNothing) {
  const Gate gate = tokens();
  for (const char* verb : {"Submit", "Cancel", "Pause", "Resume", "Delete"}) {
    const std::string method = std::string("/fulcrum.v1.JobService/") + verb;
    EXPECT_EQ(gate.check(method, bearer(kWorkerToken)).code(), Code::kPermissionDenied);
    EXPECT_EQ(gate.check(method, bearer(kViewerToken)).code(), Code::kPermissionDenied);
  }
  EXPECT_EQ(gate.check("/fulcrum.v1.JobService/Get", bearer(kWorkerToken)).code(), Code::kPermissionDenied);
}

TEST(Auth, AnOpenGateStillDeniesAMethodWithoutARow) {
  EXPECT_TRUE(Gate::open_to_all().check("/fulcrum.v1.JobService/Submit", "").ok());
  EXPECT_EQ(Gate::open_to_all().check("/fulcrum.v1.JobService/New", "").code(), Code::kPermissionDenied);
}

TEST(Auth, RefusesATokenFileThatOthersCanRead) {
  const TempFolder folder;
  const Path file = write_tokens(folder.path());
  std::filesystem::permissions(file, std::filesystem::perms::group_read, std::filesystem::perm_options::add);
  const Status status = Gate::from_file(file).status();
  EXPECT_EQ(status.code(), Code::kPermissionDenied);
  EXPECT_THAT(status.message(), HasSubstr("chmod 600"));
}

TEST(Auth, NamesTheBadLineOfATokenFileWithoutShowingIt) {
  const TempFolder folder;
  const std::string secret(31, 's');
  const Path file = write_secret(folder.path() / "t", "# first\n\nviewer " + secret + "\n");
  const Status status = Gate::from_file(file).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("line 3"));
  EXPECT_THAT(status.message(), Not(HasSubstr(secret)));
  EXPECT_FALSE(Gate::from_file(write_secret(folder.path() / "t", "admin " + kViewerToken)).ok());
  EXPECT_FALSE(Gate::from_file(write_secret(folder.path() / "t", "# nothing\n")).ok());
  EXPECT_EQ(Gate::from_file(folder.path() / "none").status().code(), Code::kNotFound);
}

TEST(Auth, AClientSendsTheFirstTokenOfItsFile) {
  const TempFolder folder;
  EXPECT_EQ(*read_token(write_tokens(folder.path())), kOperatorToken);
  EXPECT_EQ(*read_token(write_secret(folder.path() / "bare", "just-a-token\n")), "just-a-token");
}

}  // namespace
}  // namespace fulcrum
