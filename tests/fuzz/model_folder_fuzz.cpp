// A Hugging Face folder: config.json, generation_config.json, the index (empty: there is one file) and the
// weights. What is loaded is exactly the architecture's tensors, and is written and loaded again as the same
// model.
#include "policy/weights/model_spec.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  const auto parts = split_parts(input, 4);
  const Scratch scratch;
  scratch.put("in/config.json", parts[0]);
  if (!parts[1].empty()) scratch.put("in/generation_config.json", parts[1]);
  if (!parts[2].empty()) scratch.put("in/model.safetensors.index.json", parts[2]);
  scratch.put(parts[2].empty() ? "in/model.safetensors" : "in/a.safetensors", parts[3]);
  const Result<Model> model = load_model(scratch.path("in"));
  if (!good(model)) return;
  LAW(check_tensors(model->spec, model->tensors).ok());
  std::filesystem::create_directories(scratch.path("out"));
  LAW(write_model(scratch.path("out"), *model, {}).ok());
  const Result<Model> again = load_model(scratch.path("out"));
  LAW(again.ok());
  LAW(content_hash(again->tensors) == content_hash(model->tensors));
  LAW(dump_json(model_config_json(again->spec)) == dump_json(model_config_json(model->spec)));
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
