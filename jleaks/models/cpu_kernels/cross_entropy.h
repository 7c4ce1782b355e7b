// Softmax cross-entropy of classes, and its gradient.
#ifndef JLEAKS_HOST_CROSS_ENTROPY_H_
#define JLEAKS_HOST_CROSS_ENTROPY_H_

#include <cmath>
#include <limits>

#include "lanes.h"

namespace jleaks {

// e^x for x <= 0, within two units in the last place (Cephes' polynomial); below -87 nothing is left, and
// what is not a number stays so.
inline Lanes Exp(Lanes x) {
  constexpr float kLog2e = 1.44269504088896341f, kHigh = 0.693359375f, kLow = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer
  Lanes z = Max(x, Fill(-87.0f));
  Lanes n = (z * kLog2e + kRound) - kRound;
  Lanes r = z - n * kHigh - n * kLow;
  Lanes p = Fill(1.9875691500e-4f);
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
    p = p * r + c;
  }
  p = p * r * r + r + 1;
  Flags power = (__builtin_convertvector(n, Flags) + 127) << 23;
  Lanes scale;
  std::memcpy(&scale, &power, sizeof scale);
  return x < -87.0f ? Lanes{} : p * scale + (x - x);
}

// losses[batch] = log sum exp of a row less its label's logit, and share[batch, classes] the softmax
// less one at the label: what the loss changes by with each logit.
inline void CrossEntropy(const float* logits, const std::int32_t* labels, Index batch, Index classes,
                         float* losses, float* share) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  float* totals = Scratch<2>(batch);
  // Each pass is short enough for the processor to work on several rows at once.
  for (Index i = 0; i < batch; ++i) {
    Lanes highest = Fill(kNothing);
    for (Index k = 0; k < classes; k += kLanes) {
      highest = Max(Load(logits + i * classes + k, classes - k, kNothing), highest);
    }
    losses[i] = Highest(highest);
  }
  for (Index i = 0; i < batch; ++i) {
    Lanes sums{};
    for (Index k = 0; k < classes; k += kLanes) {
      Lanes part = Exp(Load(logits + i * classes + k, classes - k, kNothing) - losses[i]);
      Store(share + i * classes + k, part, classes - k);
      sums += part;
    }
    totals[i] = Total(sums);
  }
  for (Index i = 0; i < batch; ++i) {
    float* row = share + i * classes;
    float scale = 1 / totals[i];
    for (Index k = 0; k < classes; k += kLanes) Store(row + k, Load(row + k, classes - k) * scale, classes - k);
  }
  for (Index i = 0; i < batch; ++i) {
    Index label = std::clamp<Index>(labels[i], 0, classes - 1);
    losses[i] += std::log(totals[i]) - logits[i * classes + label];
    share[i * classes + label] -= 1;
  }
}

}  // namespace jleaks

#endif  // JLEAKS_HOST_CROSS_ENTROPY_H_
