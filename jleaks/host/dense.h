// A fully connected layer, tanh included, and its gradients.
#ifndef JLEAKS_HOST_DENSE_H_
#define JLEAKS_HOST_DENSE_H_

#include "lanes.h"
#include "product.h"

namespace jleaks {

// The rational approximation that Eigen and XLA use, within a few units in the last place.
inline Lanes Tanh(Lanes x) {
  constexpr float kBound = 7.90531110763549805f, kLinear = 0.0004f;
  constexpr float kUp[] = {-2.76076847742355e-16f, 2.00018790482477e-13f,  -8.60467152213735e-11f,
                           5.12229709037114e-08f,  1.48572235717979e-05f,  6.37261928875436e-04f,
                           4.89352455891786e-03f};
  constexpr float kDown[] = {1.19825839466702e-06f, 1.18534705686654e-04f, 2.26843463243900e-03f,
                             4.89352518554385e-03f};
  Lanes z = Max(Min(x, Fill(kBound)), Fill(-kBound)), square = z * z;
  Lanes up = Fill(kUp[0]), down = Fill(kDown[0]);
  for (int i = 1; i < 7; ++i) up = up * square + kUp[i];
  for (int i = 1; i < 4; ++i) down = down * square + kDown[i];
  Lanes curved = z * up / down;
  Lanes found = Max(x, -x) < kLinear ? x : curved;
  // Comparisons with NaN are false: it must not turn into a bound.
  return x == x ? found : x;
}

struct Dense {
  Index batch, inputs, outputs;
  bool tanh;

  // y[batch, outputs] = tanh(x w + bias).
  template <typename Number>
  void Forward(const Number* x, const float* w, const float* bias, float* y) const {
    auto finish = [&](Lanes sums, Index column, Index width) {
      Lanes z = sums + Load(bias + column, width);
      return tanh ? Tanh(z) : z;
    };
    Multiply(View<Number>{x, inputs, 1}, {w, outputs, 1}, y, batch, inputs, outputs, finish);
  }

  // Gradient before the activation, from that after it.
  const float* Inner(const float* y, const float* dy) const {
    if (!tanh) return dy;
    Index size = batch * outputs;
    float* dz = Scratch<2>(size);
    for (Index i = 0; i < size; ++i) dz[i] = dy[i] * (1 - y[i] * y[i]);
    return dz;
  }

  // dw[inputs, outputs], dbias[outputs] and, unless null, dx[batch, inputs].
  template <typename Number>
  void Gradients(const Number* x, const float* w, const float* y, const float* dy, float* dw,
                 float* dbias, float* dx) const {
    const float* dz = Inner(y, dy);
    std::fill_n(dbias, outputs, 0.0f);
    for (Index i = 0; i < batch; ++i) {
      for (Index n = 0; n < outputs; ++n) dbias[n] += dz[i * outputs + n];
    }
    if (dx) Multiply(View<float>{dz, outputs, 1}, {w, 1, outputs}, dx, batch, outputs, inputs);
    Multiply(View<Number>{x, 1, inputs}, {dz, outputs, 1}, dw, inputs, batch, outputs);
  }
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_DENSE_H_
