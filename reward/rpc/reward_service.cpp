#include "reward/rpc/reward_service.h"

#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/rpc/reactor.h"

namespace fulcrum {
namespace {

Deadline deadline_of(const grpc::CallbackServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  return left > std::chrono::hours(24) ? Deadline::never() : Deadline::in(left);
}

// The judge sees only rows that could be read; the others get their verdict here.
v1::ScoreResponse score_items(const RewardFunction& reward, const v1::ScoreRequest& request,
                              Deadline deadline, std::stop_token stop) {
  std::vector<Json> columns(static_cast<size_t>(request.items_size()));
  std::vector<RewardRequest> readable;
  std::vector<int> place;
  v1::ScoreResponse response;
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::RewardItem& item = request.items(i);
    v1::RewardResult& result = *response.add_results();
    const Result<Json> parsed =
        item.columns_json().empty() ? Json::object() : parse_json(item.columns_json());
    if (!parsed.ok() || !parsed->is_object()) {
      result = to_wire(
          Verdict{.reason = "columns_json: " + (parsed.ok() ? "not an object" : parsed.status().message())});
      continue;
    }
    Json& row = columns[static_cast<size_t>(i)] = *parsed;
    readable.push_back({item.prompt(), item.completion(), &row, item.num_tokens(), item.truncated()});
    place.push_back(i);
  }
  const std::vector<Verdict> verdicts = reward.score(readable, deadline, stop);
  for (size_t j = 0; j < place.size(); ++j) {
    *response.mutable_results(place[j]) =
        to_wire(j < verdicts.size() ? verdicts[j] : Verdict{.reason = "the judge gave no verdict"});
  }
  return response;
}

}  // namespace

RewardServiceServer::RewardServiceServer(std::shared_ptr<const RewardFunction> reward, size_t most_calls)
    : reward_(std::move(reward)), threads_(most_calls) {}

grpc::ServerUnaryReactor* RewardServiceServer::Score(grpc::CallbackServerContext* context,
                                                     const v1::ScoreRequest* request,
                                                     v1::ScoreResponse* response) {
  const Deadline deadline = deadline_of(*context);
  return answer(threads_, response,
                [this, request, deadline](std::stop_token stop) -> Result<v1::ScoreResponse> {
                  if (!request->reward().empty() && request->reward() != reward_->name()) {
                    return not_found("this service judges by " + in_quotes(reward_->name()) + ", not " +
                                     in_quotes(request->reward()));
                  }
                  return score_items(*reward_, *request, deadline, stop);
                });
}

}  // namespace fulcrum
