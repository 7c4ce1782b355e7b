// Softmax cross-entropy of classes, and its gradient.
#ifndef JLEAKS_HOST_CROSS_ENTROPY_H_
#define JLEAKS_HOST_CROSS_ENTROPY_H_

#include <cmath>
#include <limits>

#include "lanes.h"

namespace jleaks {

// e^x for x <= 0, within two units in the last place (Cephes' polynomial); below -87 nothing is left.
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
  return x < -87.0f ? Lanes{} : p * scale;
}

// losses[batch] = log sum exp of a row less its label's logit, and share[batch, classes] the softmax
// less one at the label: what the loss changes by with each logit.
inline void CrossEntropy(const float* logits, const std::int32_t* labels, Index batch, Index classes,
                         float* losses, float* share) {
  Index padded = (classes + kLanes - 1) / kLanes * kLanes;
  float* row = Scratch<2>(padded);
  for (Index i = 0; i < batch; ++i) {
    const float* from = logits + i * classes;
    float* to = share + i * classes;
    constexpr float kNothing = -std::numeric_limits<float>::infinity();
    std::memcpy(row, from, classes * sizeof(float));
    std::fill(row + classes, row + padded, kNothing);
    Lanes highest = Fill(kNothing), strange{};
    for (Index k = 0; k < padded; k += kLanes) {
      Lanes part = Load(row + k);
      highest = Max(part, highest);
      // Zero unless a logit is infinite or not a number, which the maximum would skip.
      Lanes odd = part - part;
      strange += part == kNothing ? Lanes{} : odd;
    }
    float most = kNothing, odd = 0;
    for (Index j = 0; j < kLanes; ++j) {
      most = std::max(most, highest[j]);
      odd += strange[j];
    }
    Lanes sums{};
    for (Index k = 0; k < padded; k += kLanes) {
      Lanes part = Exp(Load(row + k) - most);
      Store(row + k, part);
      sums += part;
    }
    float total = 0;
    for (Index j = 0; j < kLanes; ++j) total += sums[j];
    Index label = std::clamp<Index>(labels[i], 0, classes - 1);
    losses[i] = std::log(total) + (most - from[label]) + odd;
    float scale = 1 / total;
    for (Index k = 0; k < classes; ++k) to[k] = row[k] * scale;
    to[label] -= 1;
  }
}

}  // namespace jleaks

#endif  // JLEAKS_HOST_CROSS_ENTROPY_H_
