// `fulcrum-engine`: the verbs that need LibTorch. Users type `fulcrum`, which starts this program.
#include "engine/cli/engine/verbs.h"

int main(int argc, char** argv) {
  CLI::App app("Fulcrum's engine; type `fulcrum` instead.", "fulcrum");
  app.require_subcommand(1);
  fulcrum::cli::Action action;
  fulcrum::cli::add_run(app, action);
  fulcrum::cli::add_learner(app, action);
  fulcrum::cli::add_logps(app, action);
  fulcrum::cli::add_eval(app, action);
  fulcrum::cli::add_soup(app, action);
  fulcrum::cli::add_demo(app, action);
  fulcrum::cli::add_study(app, action);
  return fulcrum::cli::run_program(app, action, argc, argv);
}
