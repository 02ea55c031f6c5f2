#define FULCRUM_ROW_VALUE row_divergence_value_avx2
#define FULCRUM_ROW_GRADIENT row_divergence_gradient_avx2
#include "engine/kernels/row_divergence/op_inl.h"
