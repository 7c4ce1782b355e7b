// Matrix products of the sizes that training small networks needs: batches of a hundred, widths of tens
// to thousands.
#ifndef JLEAKS_HOST_PRODUCT_H_
#define JLEAKS_HOST_PRODUCT_H_

#include <type_traits>

#include "lanes.h"

namespace jleaks {

// Where a[i, r] is: a[i * row + r * step].
template <typename Number>
struct View {
  const Number* data;
  Index row, step;
};

// Longest reduction between loading a tile of c and storing it: a panel of b stays in the first caches.
constexpr Index kDepth = 768;

// Copies b[r, n] of `depth` steps into panels of kPanel columns, the last one padded with zeros.
inline void Pack(View<float> b, Index depth, Index columns, float* out) {
  Index panels = (columns + kPanel - 1) / kPanel;
  if (b.step == 1) {
    for (Index r = 0; r < depth; ++r) {
      const float* from = b.data + r * b.row;
      for (Index p = 0; p < panels; ++p) {
        float* to = out + (p * depth + r) * kPanel;
        Index width = columns - p * kPanel;
        Store(to, Load(from + p * kPanel, width));
        Store(to + kLanes, Load(from + p * kPanel + kLanes, width - kLanes));
      }
    }
    return;
  }
  for (Index p = 0; p < panels; ++p) {
    for (Index n = 0; n < kPanel; ++n) {
      Index column = p * kPanel + n;
      float* to = out + p * depth * kPanel + n;
      const float* from = b.data + column * b.step;
      if (column < columns) {
        for (Index r = 0; r < depth; ++r) to[r * kPanel] = from[r * b.row];
      } else {
        for (Index r = 0; r < depth; ++r) to[r * kPanel] = 0;
      }
    }
  }
}

// c[rows, columns] = a[rows, depth] b[depth, columns]; `finish` maps (sums, column, width) to what is
// stored, once a row's sums are complete.
template <typename Number, typename Finish>
void Multiply(View<Number> a, View<float> b, float* c, Index rows, Index depth, Index columns, const Finish& finish) {
  Index blocks = std::max<Index>(1, (depth + kDepth - 1) / kDepth);
  Index longest = (depth + blocks - 1) / blocks;
  Index panels = (columns + kPanel - 1) / kPanel;
  float* packed = Scratch<0>(longest * panels * kPanel);
  // A tile's rows of a are copied where its columns lie far apart, which would collide in the first
  // cache, and where they are not floats.
  constexpr bool kFloats = std::is_same_v<Number, float>;
  bool copy = !kFloats || (a.row == 1 && rows > kRows);
  float* tile = copy ? Scratch<1>(longest * kRows) : nullptr;
  for (Index at = 0; at < depth || at == 0; at += longest) {
    Index length = std::min(longest, depth - at);
    bool first = at == 0, last = at + longest >= depth;
    Pack({b.data + at * b.row, b.row, b.step}, length, columns, packed);
    ForRows(rows, [&]<int R>(Index i) {
      const Number* from = a.data + i * a.row + at * a.step;
      View<float> part{};
      if constexpr (kFloats) part = {from, a.row, a.step};
      if (copy && a.step == 1) {
        for (int j = 0; j < R; ++j) {
          for (Index r = 0; r < length; ++r) tile[j * length + r] = from[j * a.row + r];
        }
        part = {tile, length, 1};
      } else if (copy) {
        for (Index r = 0; r < length; ++r) {
          for (int j = 0; j < R; ++j) tile[r * R + j] = from[r * a.step + j * a.row];
        }
        part = {tile, 1, R};
      }
      auto panel = [&]<int V>(Index p) {
        Index column = p * kPanel, width = columns - column;
        float* out = c + i * columns + column;
        Lanes sums[R][V] = {};
        if (!first) {
          for (int j = 0; j < R; ++j) {
            for (int v = 0; v < V; ++v) {
              sums[j][v] = Load(out + j * columns + v * kLanes, width - v * kLanes);
            }
          }
        }
        const float* columns_of_b = packed + p * length * kPanel;
        if (V == 2) {
          Accumulate<R, V>(sums, part.data, part.row, part.step, columns_of_b, length);
        } else {
          const float* x = part.data;
          for (Index r = 0; r < length; ++r, x += part.step, columns_of_b += kPanel) {
            Lanes vector = Load(columns_of_b);
            for (int j = 0; j < R; ++j) sums[j][0] += x[j * part.row] * vector;
          }
        }
        for (int j = 0; j < R; ++j) {
          for (int v = 0; v < V; ++v) {
            Index left = width - v * kLanes;
            if (left <= 0) continue;
            Lanes sum = last ? finish(sums[j][v], column + v * kLanes, left) : sums[j][v];
            Store(out + j * columns + v * kLanes, sum, left);
          }
        }
      };
      for (Index p = 0; p < panels; ++p) {
        if (columns - p * kPanel > kLanes) {
          panel.template operator()<2>(p);
        } else {
          panel.template operator()<1>(p);
        }
      }
    });
  }
}

template <typename Number>
void Multiply(View<Number> a, View<float> b, float* c, Index rows, Index depth, Index columns) {
  Multiply(a, b, c, rows, depth, columns, [](Lanes sums, Index, Index) { return sums; });
}

}  // namespace jleaks

#endif  // JLEAKS_HOST_PRODUCT_H_
