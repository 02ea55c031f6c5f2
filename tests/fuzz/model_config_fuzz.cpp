// config.json of a model: what is accepted is written as a config that says the same.
#include "policy/weights/model_spec.h"
#include "tests/fuzz/fuzz.h"

namespace fulcrum::fuzz {
namespace {

void check(std::string_view text) {
  const Result<Json> json = parse_json(text);
  if (!good(json)) return;
  const Result<ModelSpec> spec = parse_model_config(*json);
  if (!good(spec)) return;
  LAW(spec->hidden_size > 0 && spec->head_dim > 0 && spec->head_dim % 2 == 0);
  LAW(spec->num_attention_heads % spec->num_key_value_heads == 0);
  const Json written = model_config_json(*spec);
  const Result<ModelSpec> again = parse_model_config(written);
  LAW(again.ok());
  LAW(dump_json(model_config_json(*again)) == dump_json(written));
  if (spec->num_hidden_layers > 16) return;
  for (const auto& [name, shape] : expected_tensors(*spec)) {
    double elements = 1;
    for (const int64_t size : shape) {
      LAW(size > 0);
      elements *= static_cast<double>(size);
    }
    LAW(elements < 0x1p62);  // so that every size fits into 64 bits
  }
}

}  // namespace
}  // namespace fulcrum::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fulcrum::fuzz::check(fulcrum::fuzz::text_of(data, size));
  return 0;
}
