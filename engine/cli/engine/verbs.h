// The verbs of fulcrum-engine: everything that trains or needs the learner's model.
#pragma once

#include "engine/cli/verb.h"

namespace fulcrum::cli {

void add_run(CLI::App& app, Action& action);
void add_learner(CLI::App& app, Action& action);
void add_logps(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_soup(CLI::App& app, Action& action);
void add_reward(CLI::App& app, Action& action);
void add_demo(CLI::App& app, Action& action);
void add_plan(CLI::App& app, Action& action);
void add_study(CLI::App& app, Action& action);

}  // namespace fulcrum::cli
