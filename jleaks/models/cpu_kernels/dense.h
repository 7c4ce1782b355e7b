// A fully connected layer, tanh included, and its gradients.
#ifndef JLEAKS_HOST_DENSE_H_
#define JLEAKS_HOST_DENSE_H_

#include "adam.h"
#include "lanes.h"
#include "product.h"
#include "random.h"
#include "sparse.h"

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

// What a private step makes of a sum of gradients: noise of a deviation, and then a share of it.
struct Noise {
  Threefry of_bias, of_weights;
  float deviation, share;

  Lanes On(const Threefry& words, Index at, Lanes sums) const {
    return (sums + deviation * words.Normals(static_cast<std::uint32_t>(at))) * share;
  }
};

struct Dense {
  Index batch, inputs, outputs;
  bool tanh;

  // y[batch, outputs] = tanh(x w + bias).
  template <typename Number>
  void Forward(const Number* x, const float* w, const float* bias, float* y) const {
    auto finish = [&](Lanes sums, float* out, Index column, Index width) {
      Lanes z = sums + Load(bias + column, width);
      Store(out, tanh ? Tanh(z) : z, width);
    };
    if (NonZeros rows = ListRows(x, batch, inputs, outputs)) {
      MultiplySparse(rows, w, y, batch, inputs, outputs, finish);
    } else {
      Multiply(ByRows<Number>{x, inputs}, {w, outputs, 1}, y, batch, inputs, outputs, kDepth, finish);
    }
  }

  // Gradient before the activation, from that after it.
  const float* Inner(const float* y, const float* dy) const {
    if (!tanh) return dy;
    Index size = batch * outputs;
    float* dz = Scratch<2>(size);
    for (Index i = 0; i < size; ++i) dz[i] = dy[i] * (1 - y[i] * y[i]);
    return dz;
  }

  // Sums of the columns of dz[batch, outputs].
  void BiasGradient(const float* dz, float* dbias) const {
    std::fill_n(dbias, outputs, 0.0f);
    for (Index i = 0; i < batch; ++i) {
      for (Index n = 0; n < outputs; ++n) dbias[n] += dz[i * outputs + n];
    }
  }

  void InputGradient(const float* dz, const float* w, float* dx) const {
    Multiply(ByRows<float>{dz, outputs}, {w, 1, outputs}, dx, batch, outputs, inputs);
  }

  // Sums over the records of x[i, k] dz[i, n], which `finish` brings to their places in c[inputs, outputs].
  template <typename Number, typename Finish>
  void WeightGradient(const Number* x, const float* dz, float* c, Index longest, const Finish& finish) const {
    if (NonZeros rows = ListRows(x, batch, inputs, outputs)) {
      MultiplySparse(ListColumns(rows, batch, inputs), dz, c, inputs, batch, outputs, finish);
    } else {
      Multiply(ByColumns<Number>{x, inputs}, {dz, outputs, 1}, c, inputs, batch, outputs, longest, finish);
    }
  }

  // dw[inputs, outputs], dbias[outputs] and, unless null, dx[batch, inputs].
  template <typename Number>
  void Gradients(const Number* x, const float* w, const float* y, const float* dy, float* dw,
                 float* dbias, float* dx) const {
    const float* dz = Inner(y, dy);
    BiasGradient(dz, dbias);
    if (dx) InputGradient(dz, w, dx);
    auto keep = [](Lanes sums, float* out, Index, Index width) { Store(out, sums, width); };
    WeightGradient(x, dz, dw, kDepth, keep);
  }

  // Takes a step of Adam along the gradients, those of the weights a tile at a time: they are never
  // written to memory.  dx[batch, inputs], unless null, is that of the weights before it.  Of a private
  // step the gradients are noisy.
  template <typename Number>
  void Descend(const Number* x, const float* y, const float* dy, const Adam& adam, const Moments& w,
               const Moments& bias, float* dx, const Noise* noise = nullptr) const {
    const float* dz = Inner(y, dy);
    if (dx) InputGradient(dz, w.params, dx);
    auto finish = [&](Lanes sums, float* out, Index, Index width) {
      Index at = out - w.params;
      adam.Step(w, at, noise ? noise->On(noise->of_weights, at, sums) : sums, width);
    };
    WeightGradient(x, dz, w.params, batch, finish);
    float* dbias = Scratch<3>(outputs);
    BiasGradient(dz, dbias);
    for (Index i = 0; noise && i < outputs; i += kLanes) {
      Store(dbias + i, noise->On(noise->of_bias, i, Load(dbias + i, outputs - i)), outputs - i);
    }
    // Weight decay concerns weights alone.
    adam.WithoutDecay().Update(bias, dbias, outputs);
  }
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_DENSE_H_
