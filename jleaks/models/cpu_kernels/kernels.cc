// The kernels as XLA sees them: typed FFI handlers, every leading axis a batch of independent calls.
//
// Single-threaded on purpose: a fleet has one host device per core.
#include "adam.h"
#include "convolution.h"
#include "cross_entropy.h"
#include "dense.h"
#include "influence.h"
#include "lanes.h"
#include "order.h"
#include "places.h"
#include "random.h"
#include "xla/ffi/api/ffi.h"

namespace jleaks {
namespace {

namespace ffi = ::xla::ffi;

using Floats = ffi::Buffer<ffi::F32>;
using WordBuffer = ffi::Buffer<ffi::U32>;
using Ints = ffi::Buffer<ffi::S32>;
using Octets = ffi::Buffer<ffi::U8>;
using Bools = ffi::Buffer<ffi::PRED>;
template <typename Buffer>
using Out = ffi::Result<Buffer>;

// The last `rank` sizes of a shape, and the product of those before them.
struct Shape {
  template <typename Buffer>
  Shape(const Buffer& buffer, Index rank) {
    auto all = buffer.dimensions();
    Index leading = static_cast<Index>(all.size()) - rank;
    for (Index i = 0; i < leading; ++i) models *= all[i];
    for (Index i = 0; i < rank; ++i) sizes[i] = all[leading + i];
  }
  Index operator[](Index i) const { return sizes[i]; }
  Index models = 1;
  Index sizes[5] = {};
};

template <typename X>
ffi::Error DenseForward(X x, Floats w, Floats bias, Out<Floats> y, bool tanh) {
  Shape xs(x, 2), ws(w, 2);
  Dense dense{xs[0], xs[1], ws[1], tanh};
  for (Index i = 0; i < xs.models; ++i) {
    dense.Forward(x.typed_data() + i * xs[0] * xs[1], w.typed_data() + i * ws[0] * ws[1], bias.typed_data() + i * ws[1],
                  y->typed_data() + i * xs[0] * ws[1]);
  }
  return ffi::Error::Success();
}

template <typename X>
ffi::Error DenseGradients(X x, Floats w, Floats y, Floats dy, Out<Floats> dw, Out<Floats> dbias,
                          Out<Floats> dx, bool tanh) {
  Shape xs(x, 2), ys(y, 2);
  Dense dense{xs[0], xs[1], ys[1], tanh};
  // Nobody asks for the gradient of a network's inputs.
  bool inputs = dx->element_count() > 0;
  for (Index i = 0; i < xs.models; ++i) {
    Index in = i * xs[0] * xs[1], out = i * ys[0] * ys[1], weights = i * xs[1] * ys[1];
    dense.Gradients(x.typed_data() + in, w.typed_data() + weights, y.typed_data() + out, dy.typed_data() + out,
                    dw->typed_data() + weights, dbias->typed_data() + i * ys[1],
                    inputs ? dx->typed_data() + in : nullptr);
  }
  return ffi::Error::Success();
}

Convolution Convolved(const Shape& x, const Shape& kernel, std::int64_t border) {
  return {x[0], x[1], x[2], x[3], kernel[0], kernel[3], border};
}

ffi::Error ConvolutionForward(Floats x, Floats kernel, Floats bias, Out<Floats> y, Out<Octets> hits,
                              std::int64_t border) {
  Shape xs(x, 4), ks(kernel, 4), ys(*y, 4);
  Convolution conv = Convolved(xs, ks, border);
  for (Index i = 0; i < xs.models; ++i) {
    Index out = i * ys[0] * ys[1] * ys[2] * ys[3];
    conv.Forward(x.typed_data() + i * xs[0] * xs[1] * xs[2] * xs[3],
                 kernel.typed_data() + i * ks[0] * ks[1] * ks[2] * ks[3],
                 bias.typed_data() + i * ks[3], y->typed_data() + out, hits->typed_data() + out);
  }
  return ffi::Error::Success();
}

ffi::Error ConvolutionGradients(Floats x, Floats kernel, Octets hits, Floats dy, Out<Floats> dkernel,
                                Out<Floats> dbias, Out<Floats> dx, std::int64_t border, bool apart) {
  Shape xs(x, 4), ks(kernel, 4), ys(dy, 4);
  Convolution conv = Convolved(xs, ks, border);
  bool inputs = dx->element_count() > 0;
  Index each = apart ? xs[0] : 1;
  for (Index i = 0; i < xs.models; ++i) {
    Index in = i * xs[0] * xs[1] * xs[2] * xs[3], out = i * ys[0] * ys[1] * ys[2] * ys[3];
    Index weights = i * ks[0] * ks[1] * ks[2] * ks[3];
    conv.WeightGradient(x.typed_data() + in, hits.typed_data() + out, dy.typed_data() + out,
                        dkernel->typed_data() + each * weights, dbias->typed_data() + each * i * ks[3], apart);
    if (inputs) {
      conv.InputGradient(kernel.typed_data() + weights, hits.typed_data() + out, dy.typed_data() + out,
                         dx->typed_data() + in);
    }
  }
  return ffi::Error::Success();
}

ffi::Error CrossEntropies(Floats logits, Ints labels, Out<Floats> losses, Out<Floats> share) {
  Shape shape(logits, 2);
  for (Index i = 0; i < shape.models; ++i) {
    Index at = i * shape[0];
    CrossEntropy(logits.typed_data() + at * shape[1], labels.typed_data() + at, shape[0], shape[1],
                 losses->typed_data() + at, share->typed_data() + at * shape[1]);
  }
  return ffi::Error::Success();
}

// What Adam changes of `models` arrays, in place where XLA lets it.
struct Places {
  Places(const Floats& p, const Floats& m, const Floats& v, Out<Floats>& new_p, Out<Floats>& new_m,
         Out<Floats>& new_v, Index models)
      : all{Place(p, new_p), Place(m, new_m), Place(v, new_v)},
        size(p.element_count() / std::max<Index>(models, 1)) {}

  static float* Place(const Floats& from, Out<Floats>& to) {
    if (from.typed_data() != to->typed_data()) {
      std::memcpy(to->typed_data(), from.typed_data(), from.size_bytes());
    }
    return to->typed_data();
  }

  Moments operator[](Index i) const {
    return {all.params + i * size, all.mean + i * size, all.square + i * size};
  }

  Moments all;
  Index size;
};

// `scalars` are rate, mean_scale and square_scale of each model; a rate of zero leaves the model alone.
Adam MakeAdam(const Floats& scalars, Index i, double b1, double b2, double eps, double decay) {
  const float* of = scalars.typed_data() + 3 * i;
  return {float(b1), float(b2), float(1 - b1), float(1 - b2), float(eps), float(decay), of[0], of[1], of[2]};
}

ffi::Error AdamUpdate(Floats p, Floats m, Floats v, Floats g, Floats scalars, Out<Floats> new_p,
                      Out<Floats> new_m, Out<Floats> new_v, double b1, double b2, double eps,
                      double decay) {
  Index models = Shape(scalars, 1).models;
  Places places(p, m, v, new_p, new_m, new_v, models);
  for (Index i = 0; i < models; ++i) {
    Adam adam = MakeAdam(scalars, i, b1, b2, eps, decay);
    if (adam.rate != 0) adam.Update(places[i], g.typed_data() + i * places.size, places.size);
  }
  return ffi::Error::Success();
}

template <typename X>
ffi::Error DenseDescent(X x, Floats y, Floats dy, Floats scalars, Floats w, Floats mean_w,
                        Floats square_w, Floats bias, Floats mean_bias, Floats square_bias,
                        Out<Floats> new_w, Out<Floats> new_mean_w, Out<Floats> new_square_w,
                        Out<Floats> new_bias, Out<Floats> new_mean_bias, Out<Floats> new_square_bias,
                        Out<Floats> dx, bool tanh, double b1, double b2, double eps, double decay) {
  Shape xs(x, 2), ys(y, 2);
  Dense dense{xs[0], xs[1], ys[1], tanh};
  Places weights(w, mean_w, square_w, new_w, new_mean_w, new_square_w, xs.models);
  Places biases(bias, mean_bias, square_bias, new_bias, new_mean_bias, new_square_bias, xs.models);
  bool inputs = dx->element_count() > 0;
  for (Index i = 0; i < xs.models; ++i) {
    Index in = i * xs[0] * xs[1], out = i * ys[0] * ys[1];
    float* to = inputs ? dx->typed_data() + in : nullptr;
    Adam adam = MakeAdam(scalars, i, b1, b2, eps, decay);
    if (adam.rate != 0) {
      dense.Descend(x.typed_data() + in, y.typed_data() + out, dy.typed_data() + out, adam, weights[i],
                    biases[i], to);
    } else if (to) {
      std::fill_n(to, xs[0] * xs[1], 0.0f);
    }
  }
  return ffi::Error::Success();
}

// A private step: `dz` is the gradient before the activation, clipped; `keys` are those of the noise on the bias
// and on the weights, `noise` its deviation and the share that is taken of the noisy sums.
template <typename X>
ffi::Error DensePrivateDescent(X x, Floats dz, WordBuffer keys, Floats noise, Floats scalars, Floats w,
                               Floats mean_w, Floats square_w, Floats bias, Floats mean_bias,
                               Floats square_bias, Out<Floats> new_w, Out<Floats> new_mean_w,
                               Out<Floats> new_square_w, Out<Floats> new_bias, Out<Floats> new_mean_bias,
                               Out<Floats> new_square_bias, double b1, double b2, double eps, double decay) {
  Shape xs(x, 2), zs(dz, 2);
  Dense dense{xs[0], xs[1], zs[1], false};
  Places weights(w, mean_w, square_w, new_w, new_mean_w, new_square_w, xs.models);
  Places biases(bias, mean_bias, square_bias, new_bias, new_mean_bias, new_square_bias, xs.models);
  for (Index i = 0; i < xs.models; ++i) {
    Adam adam = MakeAdam(scalars, i, b1, b2, eps, decay);
    if (adam.rate == 0) continue;
    const std::uint32_t* key = keys.typed_data() + 4 * i;
    const float* of = noise.typed_data() + 2 * i;
    Noise own{{{key[0], key[1]}}, {{key[2], key[3]}}, of[0], of[1]};
    const float* gradient = dz.typed_data() + i * zs[0] * zs[1];
    dense.Descend(x.typed_data() + i * xs[0] * xs[1], gradient, gradient, adam, weights[i], biases[i], nullptr,
                  &own);
  }
  return ffi::Error::Success();
}

ffi::Error OrderWords(WordBuffer words, Out<Ints> order) {
  Shape shape(words, 1);
  for (Index i = 0; i < shape.models; ++i) {
    Order(words.typed_data() + i * shape[0], order->typed_data() + i * shape[0], shape[0]);
  }
  return ffi::Error::Success();
}

ffi::Error RankRows(Floats scores, Ints inside, Ints outside, Out<Floats> others, Out<Ints> above,
                    Out<Ints> let_in, Out<Ints> up_to, Out<Ints> tie, Out<Ints> tie_end) {
  Shape rows(scores, 1), lists(outside, 1), members(inside, 1);
  for (Index i = 0; i < rows.models; ++i) {
    Index at = i * rows[0], list = i * lists[0], counts = i * (lists[0] + 1);
    Row row{scores.typed_data() + at, outside.typed_data() + list, rows[0], lists[0]};
    row.Places(others->typed_data() + list, above->typed_data() + at, let_in->typed_data() + at);
    row.Ties(others->typed_data() + list, tie->typed_data() + counts, tie_end->typed_data() + counts);
    row.UpTo(inside.typed_data() + i * members[0], members[0], above->typed_data() + at, let_in->typed_data() + at,
             up_to->typed_data() + i * (2 * lists[0] + 1));
  }
  return ffi::Error::Success();
}

// `numbers` are the members, the others, the area, the threshold and the weight of the row; its place in the sums is
// the attack's.
ffi::Error AddInfluence(Floats sums, Ints attack, Floats scores, Bools is_member, Bools is_other, Ints above,
                        Ints let_in, Ints up_to, Ints near, Floats numbers, Out<Floats> new_sums) {
  if (sums.typed_data() != new_sums->typed_data()) {
    std::memcpy(new_sums->typed_data(), sums.typed_data(), sums.size_bytes());
  }
  const float* of = numbers.typed_data();
  Index records = static_cast<Index>(scores.element_count()), rates = static_cast<Index>(near.element_count());
  auto octets = [](const Bools& flags) { return reinterpret_cast<const std::uint8_t*>(flags.typed_data()); };
  RankedRow row{scores.typed_data(), octets(is_member), octets(is_other), above.typed_data(), let_in.typed_data(),
                up_to.typed_data(), records, of[0], of[1], of[2], of[3]};
  row.Add(near.typed_data(), rates, of[4],
          new_sums->typed_data() + attack.typed_data()[0] * (4 + 2 * rates) * records);
  return ffi::Error::Success();
}

// Words, or normals, by a method that fills an array with them.
template <auto kFill, typename Numbers>
ffi::Error Random(WordBuffer key, Out<Numbers> numbers) {
  Shape keys(key, 1);
  Index size = numbers->element_count() / std::max<Index>(keys.models, 1);
  for (Index i = 0; i < keys.models; ++i) {
    const std::uint32_t* of = key.typed_data() + 2 * i;
    (Threefry{{of[0], of[1]}}.*kFill)(numbers->typed_data() + i * size, size);
  }
  return ffi::Error::Success();
}
constexpr auto kRandomWords = Random<&Threefry::Fill, WordBuffer>;
constexpr auto kRandomNormals = Random<&Threefry::FillNormals, Floats>;

ffi::Error DropFactors(WordBuffer key, Floats keep, Out<Floats> factors) {
  Shape keys(key, 1);
  Index size = factors->element_count() / std::max<Index>(keys.models, 1);
  for (Index i = 0; i < keys.models; ++i) {
    const std::uint32_t* of = key.typed_data() + 2 * i;
    Threefry{{of[0], of[1]}}.Drop(keep.typed_data()[i], factors->typed_data() + i * size, size);
  }
  return ffi::Error::Success();
}

ffi::Error GatherRecords(ffi::AnyBuffer records, Ints rows, Out<ffi::AnyBuffer> out) {
  Index num_records = records.dimensions()[0];
  Index bytes = records.size_bytes() / std::max<Index>(num_records, 1);
  Rows{static_cast<const std::uint8_t*>(records.untyped_data()), rows.typed_data(),
       static_cast<Index>(rows.element_count()), num_records, bytes}
      .Copy(static_cast<std::uint8_t*>(out->untyped_data()));
  return ffi::Error::Success();
}

ffi::Error GatherFloat(Octets records, Ints rows, Out<Floats> out) {
  Index num_records = records.dimensions()[0];
  Index bytes = records.element_count() / std::max<Index>(num_records, 1);
  Rows{records.typed_data(), rows.typed_data(), static_cast<Index>(rows.element_count()), num_records, bytes}
      .Convert(out->typed_data());
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jleaks

#define JLEAKS_HANDLER(name, function, binding) \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, jleaks::function, xla::ffi::Ffi::Bind() binding)
#define FLOATS .Arg<jleaks::Floats>()
#define OCTETS .Arg<jleaks::Octets>()
#define TO_FLOATS .Ret<jleaks::Floats>()
#define TANH .Attr<bool>("tanh")
#define ADAM .Attr<double>("b1").Attr<double>("b2").Attr<double>("eps").Attr<double>("decay")

#define TO_INTS .Ret<jleaks::Ints>()
JLEAKS_HANDLER(dense_forward, DenseForward<jleaks::Floats>,
               FLOATS FLOATS FLOATS TO_FLOATS TANH);
JLEAKS_HANDLER(dense_forward_bytes, DenseForward<jleaks::Octets>,
               OCTETS FLOATS FLOATS TO_FLOATS TANH);
JLEAKS_HANDLER(dense_gradients, DenseGradients<jleaks::Floats>,
               FLOATS FLOATS FLOATS FLOATS TO_FLOATS TO_FLOATS TO_FLOATS TANH);
JLEAKS_HANDLER(dense_gradients_bytes, DenseGradients<jleaks::Octets>,
               OCTETS FLOATS FLOATS FLOATS TO_FLOATS TO_FLOATS TO_FLOATS TANH);
#define DESCENT                                                                                  \
  FLOATS FLOATS FLOATS FLOATS FLOATS FLOATS FLOATS FLOATS FLOATS TO_FLOATS TO_FLOATS TO_FLOATS \
      TO_FLOATS TO_FLOATS TO_FLOATS
JLEAKS_HANDLER(dense_descent, DenseDescent<jleaks::Floats>, FLOATS DESCENT TO_FLOATS TANH ADAM);
JLEAKS_HANDLER(dense_descent_bytes, DenseDescent<jleaks::Octets>, OCTETS DESCENT TO_FLOATS TANH ADAM);
#define PRIVATE                                                                                         \
  FLOATS.Arg<jleaks::WordBuffer>() FLOATS FLOATS FLOATS FLOATS FLOATS FLOATS FLOATS FLOATS TO_FLOATS \
      TO_FLOATS TO_FLOATS TO_FLOATS TO_FLOATS TO_FLOATS
JLEAKS_HANDLER(dense_private_descent, DensePrivateDescent<jleaks::Floats>, FLOATS PRIVATE ADAM);
JLEAKS_HANDLER(dense_private_descent_bytes, DensePrivateDescent<jleaks::Octets>, OCTETS PRIVATE ADAM);
JLEAKS_HANDLER(normals, kRandomNormals, .Arg<jleaks::WordBuffer>() TO_FLOATS);
JLEAKS_HANDLER(convolution_forward, ConvolutionForward,
               FLOATS FLOATS FLOATS TO_FLOATS.Ret<jleaks::Octets>().Attr<std::int64_t>("border"));
JLEAKS_HANDLER(convolution_gradients, ConvolutionGradients,
               FLOATS FLOATS OCTETS FLOATS TO_FLOATS TO_FLOATS TO_FLOATS.Attr<std::int64_t>("border")
                   .Attr<bool>("apart"));
JLEAKS_HANDLER(cross_entropy, CrossEntropies,
               FLOATS.Arg<jleaks::Ints>() TO_FLOATS TO_FLOATS);
JLEAKS_HANDLER(adam, AdamUpdate,
               FLOATS FLOATS FLOATS FLOATS FLOATS TO_FLOATS TO_FLOATS TO_FLOATS ADAM);
JLEAKS_HANDLER(order, OrderWords, .Arg<jleaks::WordBuffer>().Ret<jleaks::Ints>());
JLEAKS_HANDLER(ranks, RankRows,
               FLOATS.Arg<jleaks::Ints>().Arg<jleaks::Ints>() TO_FLOATS TO_INTS TO_INTS TO_INTS TO_INTS TO_INTS);
JLEAKS_HANDLER(add_influence, AddInfluence,
               FLOATS.Arg<jleaks::Ints>() FLOATS.Arg<jleaks::Bools>().Arg<jleaks::Bools>().Arg<jleaks::Ints>()
                   .Arg<jleaks::Ints>().Arg<jleaks::Ints>().Arg<jleaks::Ints>() FLOATS TO_FLOATS);
JLEAKS_HANDLER(bits, kRandomWords, .Arg<jleaks::WordBuffer>().Ret<jleaks::WordBuffer>());
JLEAKS_HANDLER(drop, DropFactors, .Arg<jleaks::WordBuffer>() FLOATS TO_FLOATS);
JLEAKS_HANDLER(gather, GatherRecords,
               .Arg<xla::ffi::AnyBuffer>().Arg<jleaks::Ints>().Ret<xla::ffi::AnyBuffer>());
JLEAKS_HANDLER(gather_floats, GatherFloat, OCTETS.Arg<jleaks::Ints>() TO_FLOATS);
