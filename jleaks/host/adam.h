// One step of Adam (Kingma & Ba 2015, algorithm 1) on one array, in place.
#ifndef JLEAKS_HOST_ADAM_H_
#define JLEAKS_HOST_ADAM_H_

#include <cmath>

#include "lanes.h"

namespace jleaks {

struct Adam {
  // Decays, and 1 less each of them.
  float b1, b2, rest1, rest2, eps;
  // Twice the factor of the sum of squares that the loss has on top.
  float decay;
  // Step size, and the inverses of 1 - b1^t and 1 - b2^t.
  float rate, mean_scale, square_scale;

  void Update(float* __restrict p, float* __restrict m, float* __restrict v,
              const float* __restrict g, Index size) const {
    for (Index i = 0; i < size; ++i) {
      float gradient = g[i] + decay * p[i];
      m[i] = b1 * m[i] + rest1 * gradient;
      v[i] = b2 * v[i] + rest2 * (gradient * gradient);
      p[i] -= rate * (m[i] * mean_scale) / (std::sqrt(v[i] * square_scale) + eps);
    }
  }
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_ADAM_H_
