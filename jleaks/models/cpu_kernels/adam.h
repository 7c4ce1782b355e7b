// One step of Adam (Kingma & Ba 2015, algorithm 1) on one array, in place.
#ifndef JLEAKS_HOST_ADAM_H_
#define JLEAKS_HOST_ADAM_H_

#include "lanes.h"

namespace jleaks {

// What Adam changes of one array.
struct Moments {
  float *params, *mean, *square;
};

struct Adam {
  // Decays, and 1 less each of them.
  float b1, b2, rest1, rest2, eps;
  // Twice the factor of the sum of squares that the loss has on top.
  float decay;
  // Step size, and the inverses of 1 - b1^t and 1 - b2^t.
  float rate, mean_scale, square_scale;

  // The same for an array that the sum of squares leaves out.
  Adam WithoutDecay() const {
    Adam other = *this;
    other.decay = 0;
    return other;
  }

  // One vector of them, `width` numbers of which exist.
  void Step(const Moments& all, Index at, Lanes gradient, Index width) const {
    Lanes p = Load(all.params + at, width);
    gradient += decay * p;
    Lanes m = b1 * Load(all.mean + at, width) + rest1 * gradient;
    Lanes v = b2 * Load(all.square + at, width) + rest2 * (gradient * gradient);
    Store(all.mean + at, m, width);
    Store(all.square + at, v, width);
    Store(all.params + at, p - rate * (m * mean_scale) / (Sqrt(v * square_scale) + eps), width);
  }

  void Update(const Moments& all, const float* gradient, Index size) const {
    for (Index i = 0; i < size; i += kLanes) Step(all, i, Load(gradient + i, size - i), size - i);
  }
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_ADAM_H_
