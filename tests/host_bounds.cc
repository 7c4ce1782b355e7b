// Every kernel of layers on arrays of exactly their size, from single numbers on.  Built with the address
// sanitizer, which ends the process at the first access outside.
#include <cstdio>
#include <vector>

#include "convolution.h"
#include "cross_entropy.h"
#include "dense.h"
#include "influence.h"
#include "places.h"

using namespace jleaks;
using Floats = std::vector<float>;

constexpr Adam kAdam{0.9f, 0.999f, 0.1f, 0.001f, 1e-8f, 0, 1e-3f, 1, 1};

// Of the inputs, each `every`th is other than zero.
template <typename Number>
void Layer(Index batch, Index inputs, Index outputs, Index every) {
  std::vector<Number> x(batch * inputs);
  for (Index i = 0; i < batch * inputs; i += every) x[i] = Number(1);
  Floats w(inputs * outputs, 0.1f), mean(inputs * outputs), square(inputs * outputs), dw(inputs * outputs);
  Floats bias(outputs), bias_mean(outputs), bias_square(outputs), dbias(outputs);
  Floats y(batch * outputs), dy(batch * outputs, 0.1f), share(batch * outputs), dx(batch * inputs), losses(batch);
  std::vector<std::int32_t> labels(batch);
  Dense dense{batch, inputs, outputs, true};
  dense.Forward(x.data(), w.data(), bias.data(), y.data());
  dense.Gradients(x.data(), w.data(), y.data(), dy.data(), dw.data(), dbias.data(), dx.data());
  dense.Descend(x.data(), y.data(), dy.data(), kAdam, {w.data(), mean.data(), square.data()},
                {bias.data(), bias_mean.data(), bias_square.data()}, dx.data());
  CrossEntropy(y.data(), labels.data(), batch, outputs, losses.data(), share.data());
}

void Images(Index size, Index channels, Index features, Index border) {
  Index side = (size + 2 * border - 4) / 2, pixels = 2 * side * side * features;
  Floats x(2 * size * size * channels, 1), kernel(25 * channels * features, 0.1f), bias(features);
  Floats y(pixels), dy(pixels, 0.1f), dx(x.size()), dkernel(kernel.size()), dbias(features);
  std::vector<std::uint8_t> hits(pixels);
  Convolution conv{2, size, size, channels, 5, features, border};
  conv.Forward(x.data(), kernel.data(), bias.data(), y.data(), hits.data());
  conv.WeightGradient(x.data(), hits.data(), dy.data(), dkernel.data(), dbias.data(), false);
  Floats of_each(2 * kernel.size()), bias_of_each(2 * features);
  conv.WeightGradient(x.data(), hits.data(), dy.data(), of_each.data(), bias_of_each.data(), true);
  conv.InputGradient(kernel.data(), hits.data(), dy.data(), dx.data());
}

void Ranks(Index records, Index most) {
  Floats scores(records), others(most);
  std::vector<std::int32_t> outside(most), above(records), let_in(records);
  for (Index i = 0; i < records; ++i) scores[i] = float(i * 7 % 5);
  for (Index i = 0; i < most; ++i) outside[i] = std::int32_t(i % 3 ? i : 1 << 30);
  std::vector<std::int32_t> inside(records), up_to(2 * most + 1), tie(most + 1), tie_end(most + 1), near{0, 1, 9};
  for (Index i = 0; i < records; ++i) inside[i] = std::int32_t(i % 3 ? 1 << 30 : i);
  Row row{scores.data(), outside.data(), records, most};
  row.Places(others.data(), above.data(), let_in.data());
  row.Ties(others.data(), tie.data(), tie_end.data());
  row.UpTo(inside.data(), records, above.data(), let_in.data(), up_to.data());
  std::vector<std::uint8_t> is_member(records), is_other(records);
  for (Index i = 0; i < records; ++i) (i % 3 ? is_other : is_member)[i] = i % 5 != 0;
  Floats sums(10 * records);
  RankedRow{scores.data(), is_member.data(), is_other.data(), above.data(), let_in.data(), up_to.data(),
            records,       1,                1,               0.5f,         0.5f}
      .Add(near.data(), 3, 1, sums.data());
}

int main() {
  for (Index batch : {1, 2, 7, 13, 100}) {
    for (Index inputs : {1, 2, 5, 11, 12, 13, 17, 30, 129, 800}) {
      for (Index outputs : {1, 2, 3, 16, 17, 31, 33, 100}) {
        for (Index every : {1, 3, 5, 100}) {
          Layer<std::uint8_t>(batch, inputs, outputs, every);
          Layer<float>(batch, inputs, outputs, every);
        }
      }
    }
  }
  for (Index size : {6, 7, 14, 28}) {
    for (Index channels : {1, 3, 32}) {
      for (Index features : {1, 20, 32, 33}) {
        Images(size, channels, features, 0);
        Images(size, channels, features, 2);
      }
    }
  }
  for (Index records : {1, 2, 63, 5000}) {
    for (Index most : {1, 64, 5000}) Ranks(records, most);
  }
  std::puts("inside");
}
