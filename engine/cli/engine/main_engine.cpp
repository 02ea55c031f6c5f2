// `fulcrum-engine`: the verbs that need LibTorch. Users type `fulcrum`, which starts this program.
#include <ATen/Parallel.h>

#include "engine/cli/engine/verbs.h"
#include "engine/cli/verbs.h"
#include "reward/model/model_reward.h"

int main(int argc, char** argv) {
  at::set_num_threads(1);  // LibTorch's own default is every core; --threads and the job's key ask for more
  CLI::App app("Fulcrum's engine; type `fulcrum` instead.", "fulcrum");
  app.require_subcommand(1);
  fulcrum::cli::Action action;
  fulcrum::cli::add_run(app, action);
  fulcrum::cli::add_learner(app, action);
  fulcrum::cli::add_logps(app, action);
  fulcrum::cli::add_eval(app, action);
  fulcrum::cli::add_soup(app, action);
  fulcrum::cli::add_reward(app, action);
  fulcrum::cli::add_score(app, action, fulcrum::make_model_reward);
  fulcrum::cli::add_demo(app, action);
  fulcrum::cli::add_study(app, action);
  fulcrum::cli::add_plan(app, action);
  return fulcrum::cli::run_program(app, action, argc, argv);
}
