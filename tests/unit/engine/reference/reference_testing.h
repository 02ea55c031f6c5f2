// A model small enough to look at, for the tests of references and soups.
#pragma once

#include "policy/weights/model_spec.h"

namespace fulcrum {

inline ModelSpec tiny_spec() {
  ModelSpec spec;
  spec.vocab_size = 11;
  spec.hidden_size = 8;
  spec.intermediate_size = 12;
  spec.num_hidden_layers = 1;
  spec.num_attention_heads = 2;
  spec.num_key_value_heads = 1;
  spec.head_dim = 4;
  spec.max_position_embeddings = 16;
  return spec;
}

}  // namespace fulcrum
