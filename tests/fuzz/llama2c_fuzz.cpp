// A llama2.c checkpoint: what is accepted is a whole model that survives the way through a Hugging Face
// folder.
#include "policy/weights/model_spec.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view input) {
  const Scratch scratch;
  scratch.put("model.bin", input);
  const Result<Model> model = load_model(scratch.path("model.bin"));
  if (!good(model)) return;
  LAW(check_tensors(model->spec, model->tensors).ok());
  std::filesystem::create_directories(scratch.path("out"));
  LAW(write_model(scratch.path("out"), *model, {}).ok());
  const Result<Model> again = load_model(scratch.path("out"));
  LAW(again.ok());
  LAW(content_hash(again->tensors) == content_hash(model->tensors));
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
