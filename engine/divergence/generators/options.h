// What divergences are made with. Plain numbers, for headers that compilers of devices read too.
#pragma once

namespace fulcrum {

struct DivergenceOptions {
  double alpha = 0.5;     // of alpha_divergence: 0 forward KL, 1 reverse KL
  double js_scale = 1.0;  // of js_divergence: 1 is twice the Jensen-Shannon divergence
};

}  // namespace fulcrum
