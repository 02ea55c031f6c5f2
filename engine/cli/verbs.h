// Every verb of both programs.
#pragma once

#include "engine/cli/verb.h"
#include "reward/make_rewards.h"

namespace fulcrum::cli {

// In `fulcrum`, without LibTorch.
void add_config_verbs(CLI::App& app, Action& action);
void add_data_verbs(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_generate(CLI::App& app, Action& action);
void add_score(CLI::App& app, Action& action, const JudgeFactory& model = {});
void add_job_verbs(CLI::App& app, Action& action);
void add_rollout(CLI::App& app, Action& action);
void add_init_model(CLI::App& app, Action& action);
void add_checkpoint_verbs(CLI::App& app, Action& action);

}  // namespace fulcrum::cli
