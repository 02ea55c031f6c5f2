#include "engine/rpc/convert.h"

#include <gmock/gmock.h>

#include "engine/rpc/job_convert.h"

namespace fulcrum {
namespace {

TEST(Convert, EveryCodeCrossesAndComesBack) {
  for (int code = 1; code <= 16; ++code) {
    const Status there(static_cast<Code>(code), "what, where, what to do");
    const Status back = from_grpc(to_grpc(there));
    EXPECT_EQ(back.code(), there.code());
    EXPECT_EQ(back.message(), there.message());
  }
  EXPECT_TRUE(from_grpc(to_grpc(ok_status())).ok());
}

TEST(Convert, MessagesStayOneLineOfTextWhoeverSentThem) {
  EXPECT_EQ(to_grpc(internal_error("a\nb\xff")).error_message(), "a\\nb\\xFF");
  EXPECT_EQ(from_grpc({grpc::StatusCode::INTERNAL, "\x1b[2J"}).message(), "\\x1B[2J");
  EXPECT_LT(to_grpc(internal_error(std::string(100'000, 'x'))).error_message().size(), 3000u);
}

TEST(Convert, ADyingServerIsUnavailable) {
  EXPECT_EQ(from_grpc({grpc::StatusCode::UNKNOWN, "Stream removed"}).code(), Code::kUnavailable);
  EXPECT_EQ(from_grpc({grpc::StatusCode::DO_NOT_USE, "?"}).code(), Code::kUnknown);
}

TEST(Convert, EverythingThatDecidesTheTokensOfARequestCrossesAndTheRowThatMessagesName) {
  RolloutRequest request;
  request.seed = 0xFFFFFFFFFFFFFFFFu;
  request.evaluation = true;
  request.step = 12;
  request.index = 3;
  request.prompt.row = 17;
  request.prompt.ids = {1, 2, 3};
  request.num_generations = 4;
  request.sampling = {.temperature = 0.7,
                      .top_k = 5,
                      .top_p = 0.9,
                      .min_p = 0.1,
                      .max_completion_length = 33,
                      .stop = {"\n\n", "\xE2\x82"},
                      .stop_ids = {7, 8}};
  v1::Lease lease;
  request_to_wire(request, lease);
  const auto back = request_from_wire(lease);
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->seed, request.seed);
  EXPECT_EQ(back->evaluation, true);
  EXPECT_EQ(back->step, 12);
  EXPECT_EQ(back->index, 3);
  EXPECT_EQ(back->prompt.row, 17);
  EXPECT_EQ(back->prompt.ids, request.prompt.ids);
  EXPECT_EQ(back->num_generations, 4);
  EXPECT_EQ(back->sampling.temperature, 0.7);
  EXPECT_EQ(back->sampling.top_k, 5);
  EXPECT_EQ(back->sampling.top_p, 0.9);
  EXPECT_EQ(back->sampling.min_p, 0.1);
  EXPECT_EQ(back->sampling.max_completion_length, 33);
  EXPECT_EQ(back->sampling.stop, request.sampling.stop);
  EXPECT_EQ(back->sampling.stop_ids, request.sampling.stop_ids);
}

TEST(Convert, ARequestThatCannotBeMeantIsRefused) {
  v1::Lease lease;
  lease.add_prompt_ids(1);
  EXPECT_FALSE(request_from_wire(lease).ok()) << "no completions asked for";
  lease.set_num_generations(int64_t{1} << 40);
  EXPECT_FALSE(request_from_wire(lease).ok());
  lease.set_num_generations(1);
  EXPECT_TRUE(request_from_wire(lease).ok());
  lease.clear_prompt_ids();
  EXPECT_FALSE(request_from_wire(lease).ok());
}

TEST(Convert, JobsAndEventsCrossWhole) {
  for (const JobState state : kJobStates) EXPECT_EQ(*from_wire(to_wire(state)), state);
  EXPECT_FALSE(from_wire(v1::JOB_STATE_UNSPECIFIED).ok());
  const Job job{"job-000001", "n", "{}", JobState::kPaused, "why", 2, 3, 4, 5, 6, 7, 8};
  const auto back = from_wire(to_wire(job));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->id, job.id);
  EXPECT_EQ(back->why, "why");
  EXPECT_EQ(back->revision, 2);
  EXPECT_EQ(back->epoch, 3);
  EXPECT_EQ(back->step, 4);
  EXPECT_EQ(back->max_steps, 5);
  EXPECT_EQ(back->finished_at, 8);
  EXPECT_TRUE(from_wire(to_wire(job, false))->config.empty());
  const Event event{.number = 9,
                    .created_at = 10,
                    .level = EventLevel::kWarn,
                    .type = "metrics",
                    .message = "m",
                    .data = {{"x", 1.5}}};
  const auto same = from_wire(to_wire(event));
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(event_json(*same), event_json(event));
}

}  // namespace
}  // namespace fulcrum
