// Matrix products of the sizes that training small networks needs: batches of a hundred, widths of tens
// to thousands.
#ifndef JLEAKS_HOST_PRODUCT_H_
#define JLEAKS_HOST_PRODUCT_H_

#include "lanes.h"

namespace jleaks {

// Where b[r, n] is: b[r * row + n * step].
struct View {
  const float* data;
  Index row, step;
};

// Longest reduction between loading a tile of c and storing it: a panel of b stays in the first caches.
constexpr Index kDepth = 768;

// Copies the next columns of b[r, n], `width` of which are left, to a panel out[r * kPanel + n]; zeros where
// there are none.
inline void PackPanel(View b, Index depth, Index width, float* out) {
  width = std::min(width, kPanel);
  if (b.step == 1) {
    for (Index r = 0; r < depth; ++r) {
      Store(out + r * kPanel, Load(b.data + r * b.row, width));
      Store(out + r * kPanel + kLanes, Load(b.data + r * b.row + kLanes, width - kLanes));
    }
    return;
  }
  Index n = 0, blocks = 0;
#if defined(__SSE__)
  // Four by four where numbers are adjacent along r.
  if (b.row == 1) blocks = depth / 4 * 4;
  for (; n + 4 <= width && blocks; n += 4) {
    for (Index r = 0; r < blocks; r += 4) {
      const float* from = b.data + n * b.step + r;
      __m128 q0 = _mm_loadu_ps(from), q1 = _mm_loadu_ps(from + b.step), q2 = _mm_loadu_ps(from + 2 * b.step),
             q3 = _mm_loadu_ps(from + 3 * b.step);
      _MM_TRANSPOSE4_PS(q0, q1, q2, q3);
      float* to = out + r * kPanel + n;
      _mm_storeu_ps(to, q0);
      _mm_storeu_ps(to + kPanel, q1);
      _mm_storeu_ps(to + 2 * kPanel, q2);
      _mm_storeu_ps(to + 3 * kPanel, q3);
    }
  }
#endif
  Index done = n;
  for (n = 0; n < kPanel; ++n) {
    for (Index r = n < done ? blocks : 0; r < depth; ++r) {
      out[r * kPanel + n] = n < width ? b.data[r * b.row + n * b.step] : 0;
    }
  }
}

// All panels of b[r, n].
inline void Pack(View b, Index depth, Index columns, float* out) {
  for (Index n = 0; n < columns; n += kPanel, out += depth * kPanel) {
    PackPanel({b.data + n * b.step, b.row, b.step}, depth, columns - n, out);
  }
}

// The left operand a[i, r], whose tiles of R rows are copied as floats to where the distances between
// numbers are constants: one register addresses them all, and no two rows collide in the first cache.

// Stored by rows, `row` numbers apart; at most kDepth of each are taken at a time.
template <typename Number>
struct ByRows {
  const Number* data;
  Index row;

  // An odd number of cache lines.
  static constexpr Index kRow = kDepth + 16, kStep = 1;
  static Index Size(Index) { return kRows * kRow; }

  template <int R>
  void Copy(Index i, Index r, Index length, Index, float* tile) const {
    for (int j = 0; j < R; ++j) {
      const Number* from = data + (i + j) * row + r;
      for (Index k = 0; k < length; ++k) tile[j * kRow + k] = from[k];
    }
  }
};

// Stored by columns, `step` numbers apart.
template <typename Number>
struct ByColumns {
  const Number* data;
  Index step;

  // A whole number of vectors.
  static constexpr Index kRow = 1, kStep = (kRows + kLanes - 1) / kLanes * kLanes;
  static Index Size(Index length) { return length * kStep; }

  template <int R>
  void Copy(Index i, Index r, Index length, Index rows, float* tile) const {
    const Number* from = data + r * step + i;
    // More than R numbers are copied at a time while those lie before the matrix's end.
    Index end = (length - 1) * step + rows - i - kStep;
    Index safe = end < 0 ? 0 : std::min(length, end / step + 1);
    for (Index k = 0; k < safe; ++k) {
      for (Index j = 0; j < kStep; ++j) tile[k * kStep + j] = from[k * step + j];
    }
    for (Index k = safe; k < length; ++k) {
      for (Index j = 0; j < R; ++j) tile[k * kStep + j] = from[k * step + j];
    }
  }
};

// Sums over r of a[i, r] b[r, n]; `finish(sums, out, column, width)` does with them what is to be done,
// `out` being where they belong in c[rows, columns].  Between two parts of a reduction longer than
// `longest`, sums are kept in c.
template <typename Operand, typename Finish>
void Multiply(Operand a, View b, float* c, Index rows, Index depth, Index columns, Index longest,
              const Finish& finish) {
  Index blocks = std::max<Index>(1, (depth + longest - 1) / longest);
  longest = (depth + blocks - 1) / blocks;
  Index panels = (columns + kPanel - 1) / kPanel;
  float* packed = Scratch<0>(longest * panels * kPanel);
  float* tile = Scratch<1>(Operand::Size(longest));
  for (Index at = 0; at < depth || at == 0; at += longest) {
    Index length = std::min(longest, depth - at);
    bool first = at == 0, last = at + longest >= depth;
    auto part = [&](Index p) { return View{b.data + at * b.row + p * kPanel * b.step, b.row, b.step}; };
    // Whole panels of adjacent numbers are copied while the first rows are multiplied with them.
    auto later = [&](Index p) { return b.step == 1 && columns - p * kPanel >= kPanel; };
    for (Index p = 0; p < panels; ++p) {
      if (!later(p)) PackPanel(part(p), length, columns - p * kPanel, packed + p * length * kPanel);
    }
    ForRows(rows, [&]<int R>(Index i) {
      a.template Copy<R>(i, at, length, rows, tile);
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
        float* panel_of_b = packed + p * length * kPanel;
        bool now = i == 0 && later(p);
        Accumulate<R, V>(sums, tile, Operand::kRow, Operand::kStep, now ? part(p).data : panel_of_b,
                         now ? b.row : kPanel, length, now ? panel_of_b : nullptr);
        for (int j = 0; j < R; ++j) {
          for (int v = 0; v < V; ++v) {
            Index left = width - v * kLanes;
            if (left <= 0) continue;
            float* to = out + j * columns + v * kLanes;
            if (last) {
              finish(sums[j][v], to, column + v * kLanes, left);
            } else {
              Store(to, sums[j][v], left);
            }
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

// c[rows, columns] = a[rows, depth] b[depth, columns].
template <typename Operand>
void Multiply(Operand a, View b, float* c, Index rows, Index depth, Index columns) {
  auto keep = [](Lanes sums, float* out, Index, Index width) { Store(out, sums, width); };
  Multiply(a, b, c, rows, depth, columns, kDepth, keep);
}

}  // namespace jleaks

#endif  // JLEAKS_HOST_PRODUCT_H_
