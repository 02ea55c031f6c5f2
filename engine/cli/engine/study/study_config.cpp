#include "engine/cli/engine/study/study_config.h"

#include <algorithm>
#include <set>

#include "engine/core/json.h"
#include "engine/core/text.h"
#include "reward/pass_at_k.h"

namespace fulcrum::cli {
namespace {

bool is_plain_name(const std::string& name) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  };
  return !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), plain);
}

Status check_stage(const StudyStage& stage, const std::set<std::string>& before) {
  const std::string where = "stage " + in_quotes(stage.name);
  if (!is_plain_name(stage.name))
    return invalid_argument(where + ": a name has letters, digits, '-', '_' and '.'");
  if (before.contains(stage.name)) return invalid_argument(where + " is there twice");
  if (stage.job.empty() == stage.soup.empty())
    return invalid_argument(where + " needs either 'job' or 'soup'");
  for (const std::string& part : stage.soup) {
    if (!before.contains(part))
      return invalid_argument(where + ": its soup names " + in_quotes(part) +
                              ", which is not made before it");
  }
  if (!stage.soup_weights.empty() && stage.soup_weights.size() != stage.soup.size())
    return invalid_argument(where + ": 'soup_weights' must have as many entries as 'soup'");
  return ok_status();
}

Status check_study(const StudyConfig& study) {
  std::set<std::string> names = {"init"};  // what the study begins with
  for (const auto* list : {&study.stages, &study.arms}) {
    for (const StudyStage& stage : *list) {
      TRY_DO(check_stage(stage, names));
      names.insert(stage.name);
    }
  }
  if (study.arms.empty()) return invalid_argument("key 'arms' is missing: nothing is compared");
  const auto is_base = [&](const StudyStage& s) { return s.name == study.base; };
  if (std::none_of(study.stages.begin(), study.stages.end(), is_base))
    return invalid_argument("key 'base' must name one of the stages");
  if (study.measures.empty()) return invalid_argument("key 'measures' is missing: nothing is measured");
  for (const StudyMeasure& m : study.measures)
    TRY_DO(check_ks(m.k, m.num_generations, {"a measure's 'k'", "its 'num_generations'"}));
  for (const StudyChart& chart : study.charts) {
    if (!is_plain_name(chart.file)) return invalid_argument("a chart's 'file' must be a plain file name");
  }
  return ok_status();
}

}  // namespace

std::vector<StudyStage> compared_models(const StudyConfig& study) {
  std::vector<StudyStage> out;
  for (const StudyStage& stage : study.stages) {
    if (stage.name == study.base) out.push_back(stage);
  }
  out.insert(out.end(), study.arms.begin(), study.arms.end());
  return out;
}

Result<StudyConfig> load_study(const Path& file) {
  const std::string where = in_quotes(file.string());
  TRY(text, read_file(file));
  auto document = parse_json(text, {.comments = true});
  if (!document.ok()) return document.status().with_context(where);
  auto study = read_config<StudyConfig>(*document);
  if (!study.ok()) return study.status().with_context(where);
  if (Status checked = check_study(*study); !checked.ok()) return checked.with_context(where);
  return study;
}

}  // namespace fulcrum::cli
