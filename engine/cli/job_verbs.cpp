// `fulcrum job ...`: submit jobs to a learner, steer them and watch them.
#include <cstdio>

#include "engine/cli/connect.h"
#include "engine/cli/progress.h"
#include "engine/cli/table.h"
#include "engine/cli/verbs.h"
#include "engine/core/signals.h"
#include "engine/core/text.h"
#include "engine/pipeline/config/job_config.h"
#include "engine/rpc/job_client.h"

namespace fulcrum::cli {
namespace {

struct Options {
  ClientOptions learner;
  std::string file, id, name, format = "table";
  std::vector<std::string> set;
  bool follow = false;
  int lines = 100;
};

Result<std::unique_ptr<JobClient>> connect(const Options& o) {
  TRY(connection, Connection::open(o.learner));
  return std::make_unique<JobClient>(std::move(connection));
}

Json job_row(const Job& job) {
  return {{"id", job.id},     {"name", job.name},           {"state", job_state_name(job.state)},
          {"step", job.step}, {"max_steps", job.max_steps}, {"why", job.why}};
}

void print_jobs(const std::vector<Job>& jobs, const std::string& format) {
  Table table{{"id", "name", "state", "step", "max_steps", "why"}, {}};
  for (const Job& job : jobs) table.rows.push_back(job_row(job));
  std::fputs(render(table, format).c_str(), stdout);
}

// The job file is checked here, and sent with its defaults and absolute paths.
Status submit(const Options& o) {
  TRY(config, load_job(o.file, o.set));
  TRY(client, connect(o));
  NewJob job{.name = o.name.empty() ? Path(o.file).stem().string() : o.name,
             .config = dump_json(write_config(config), 2),
             .request_id = {}};
  TRY(submitted, client->submit(std::move(job)));
  std::printf("%s\n", submitted.id.c_str());
  return ok_status();
}

Status list(const Options& o) {
  TRY(client, connect(o));
  std::vector<Job> jobs;
  ListQuery query;
  do {
    TRY(page, client->list(query));
    jobs.insert(jobs.end(), page.jobs.begin(), page.jobs.end());
    query.page_token = page.next_page_token;
  } while (!query.page_token.empty());
  print_jobs(jobs, o.format);
  return ok_status();
}

Status get(const Options& o) {
  TRY(client, connect(o));
  TRY(job, client->get(o.id));
  print_jobs({job}, o.format);
  return ok_status();
}

Metrics numbers_of(const Json& data) {
  Metrics out;
  for (const auto& [name, value] : data.items()) {
    if (value.is_number()) add_metric(out, name, value.get<double>());
  }
  return out;
}

// What the end of a job is for the exit code.
Status outcome_of(const Job& job) {
  const std::string why = job.why.empty() ? "" : ": " + printable(job.why, 2000);
  if (job.state == JobState::kFailed) return failed_precondition(job.id + " failed" + why);
  if (job.state == JobState::kCancelled) return cancelled(job.id + " was cancelled");
  return ok_status();
}

// Shows the events of a job that runs. What happened before is told again, but for the numbers of old steps:
// they would pass for this minute's rate.
class JobView {
 public:
  JobView(JobClient& client, Job job, bool terminal)
      : client_(client), job_(std::move(job)), progress_(job_.id, terminal) {}
  ~JobView() { progress_.finish(); }

  void show(const Event& event) {
    if (event.type == "metrics") return step(event.data);
    progress_.finish();
    std::printf("%s\n", printable(event.message, 2000).c_str());
    std::fflush(stdout);
  }

 private:
  void step(const Json& numbers) {
    const Result<int64_t> done = get_int(numbers, "step");
    if (!done.ok() || *done < job_.step) return;
    if (job_.max_steps == 0) {  // it was queued when the watch began
      if (const Result<Job> now = client_.get(job_.id); now.ok()) job_ = *now;
    }
    progress_.update(*done, std::max(job_.max_steps, *done), metrics_note(numbers_of(numbers)));
  }

  JobClient& client_;
  Job job_;
  Progress progress_;
};

// Until the job ends; the exit code is its outcome.
Status watch(const Options& o) {
  const SignalStop signals;
  TRY(client, connect(o));
  TRY(job, client->get(o.id));
  JobView view(*client, std::move(job), stderr_is_terminal());
  TRY_DO(client->watch(o.id, 0, signals.token(), [&](const Event& event) {
    if (o.format == "table") {
      view.show(event);
    } else {
      std::printf("%s\n", dump_json(event_json(event)).c_str());
      std::fflush(stdout);
    }
    return true;
  }));
  TRY(ended, client->get(o.id));
  return outcome_of(ended);
}

Status logs(const Options& o) {
  const SignalStop signals;
  TRY(client, connect(o));
  return client->tail_log(o.id, o.lines, o.follow, signals.token(), [](const std::string& line) {
    std::printf("%s\n", printable(line, 4000).c_str());
    std::fflush(stdout);
    return true;
  });
}

using Steer = Result<Job> (JobClient::*)(const std::string&);

Status steer(const Options& o, Steer verb) {
  TRY(client, connect(o));
  TRY(job, (client.get()->*verb)(o.id));
  std::printf("%s %s\n", job.id.c_str(), std::string(job_state_name(job.state)).c_str());
  return ok_status();
}

Status remove(const Options& o) {
  TRY(client, connect(o));
  return client->remove(o.id);
}

// What to do where no learner answers.
Status with_advice(const Status& status) {
  if (status.code() != Code::kUnavailable) return status;
  return unavailable(
      status.message() +
      "; start one, `fulcrum learner --state FOLDER`, or say where it is: --learner HOST:PORT");
}

void add_job(CLI::App& app, Action& action, const std::string& name, const std::string& doc,
             std::function<Status(const Options&)> run) {
  add_verb<Options>(
      app, action, name, doc,
      [run = std::move(run)](const Options& o) { return report(with_advice(run(o))); },
      [name](CLI::App& v, Options& o) {
        add_connection_options(v, o.learner);
        if (name == "submit") {
          v.add_option("job", o.file, "the job file")->required();
          v.add_option("--name", o.name, "for people (default: the file's name)");
          v.add_option("--set", o.set, "override a key: a.b=value");
        } else if (name != "list") {
          v.add_option("id", o.id, "the job, for example job-000001")->required();
        }
        if (name == "logs") {
          v.add_flag("-f,--follow", o.follow, "go on until the job ends");
          v.add_option("-n,--lines", o.lines)->capture_default_str();
        }
        if (name == "list" || name == "get" || name == "watch") add_output_option(v, o.format);
      });
}

}  // namespace

void add_job_verbs(CLI::App& app, Action& action) {
  CLI::App* job = app.add_subcommand("job", "submit, steer and watch jobs of a learner");
  job->require_subcommand(1);
  add_job(*job, action, "submit", "check a job file and queue it; prints its id", submit);
  add_job(*job, action, "list", "all jobs, newest first", list);
  add_job(*job, action, "get", "one job", get);
  add_job(*job, action, "watch", "progress until the job ends", watch);
  add_job(*job, action, "logs", "what happened to a job", logs);
  add_job(*job, action, "pause", "stop at the next step boundary, with a checkpoint",
          [](const Options& o) { return steer(o, &JobClient::pause); });
  add_job(*job, action, "resume", "go on", [](const Options& o) { return steer(o, &JobClient::resume); });
  add_job(*job, action, "cancel", "stop now", [](const Options& o) { return steer(o, &JobClient::cancel); });
  add_job(*job, action, "delete", "forget a job that has ended", remove);
}

}  // namespace fulcrum::cli
