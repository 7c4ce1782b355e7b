// A convolution of stride 1 with bias, ReLU and 2x2 max-pooling, image by image, and its gradients.
//
// Direct: a tile's rows are neighbouring windows, read where they lie.  Of a window, the numbers of one
// kernel row are adjacent in memory (columns times channels), and so are the kernel's.
#ifndef JLEAKS_HOST_CONVOLUTION_H_
#define JLEAKS_HOST_CONVOLUTION_H_

#include "lanes.h"
#include "product.h"

namespace jleaks {

struct Convolution {
  Index batch, height, width, channels;  // of x
  Index size, features;                  // of the kernel
  Index border;                          // zeros on every side of x

  Index Rows() const { return height + 2 * border - size + 1; }
  Index Columns() const { return width + 2 * border - size + 1; }
  Index Stride() const { return (width + 2 * border) * channels; }
  Index Panels() const { return (features + kPanel - 1) / kPanel; }
  // Numbers of a window in one kernel row.
  Index Run() const { return size * channels; }

  // An image with its border.
  const float* Bordered(const float* x) const {
    if (border == 0) return x;
    Index rows = height + 2 * border;
    float* out = Scratch<2>(rows * Stride());
    std::fill_n(out, rows * Stride(), 0.0f);
    for (Index y = 0; y < height; ++y) {
      std::memcpy(out + (y + border) * Stride() + border * channels, x + y * width * channels,
                  width * channels * sizeof(float));
    }
    return out;
  }

  // y[batch, rows / 2, columns / 2, features]; hits[...] has bit i set where window i of the four (two
  // above, two below) attains a positive maximum.
  void Forward(const float* x, const float* kernel, const float* bias, float* y,
               std::uint8_t* hits) const {
    Index depth = size * Run();
    float* packed = Scratch<0>(depth * Panels() * kPanel);
    Pack({kernel, features, 1}, depth, features, packed);
    Index pooled = Rows() / 2 * (Columns() / 2) * features;
    for (Index image = 0; image < batch; ++image) {
      const float* from = Bordered(x + image * height * width * channels);
      for (Index p = 0; p < Panels(); ++p) {
        for (Index row = 0; row + 1 < Rows(); row += 2) {
          Index column = 0, left = Columns() / 2;
          Index tiles = (left + kRows / 4 - 1) / (kRows / 4);
          for (; tiles > 0; --tiles) {
            Index pairs = (left + tiles - 1) / tiles;
            Index at = image * pooled + (row / 2 * (Columns() / 2) + column / 2) * features;
            const float* window = from + row * Stride() + column * channels;
            const float* panel = packed + p * depth * kPanel;
            float* out = y + at + p * kPanel;
            std::uint8_t* hit = hits + at + p * kPanel;
            Index wide = features - p * kPanel;
            switch (pairs) {
              case 1: Pool<1>(window, panel, bias + p * kPanel, out, hit, wide); break;
              case 2: Pool<2>(window, panel, bias + p * kPanel, out, hit, wide); break;
              case 3: Pool<3>(window, panel, bias + p * kPanel, out, hit, wide); break;
            }
            column += 2 * pairs;
            left -= pairs;
          }
        }
      }
    }
  }

  // dz of the window rows [top, bottom), both even, of an image: each pooled gradient goes to the windows
  // that attained the maximum, in equal parts.
  float* Unpool(const float* dy, const std::uint8_t* hits, Index top, Index bottom) const {
    Index columns = Columns() / 2, stride = Columns() * features;
    float* dz = Scratch<3>((bottom - top) * stride);
    if (Columns() % 2) std::fill_n(dz, (bottom - top) * stride, 0.0f);
    for (Index row = top / 2; row < bottom / 2; ++row) {
      for (Index column = 0; column < columns; ++column) {
        Index at = (row * columns + column) * features;
        float* to = dz + (2 * row - top) * stride + 2 * column * features;
        for (Index first = 0; first < features; first += kLanes) {
          Index wide = features - first;
          Bytes bytes{};
          std::memcpy(&bytes, hits + at + first, std::min(wide, kLanes));
          Flags hit = __builtin_convertvector(bytes, Flags);
          Flags count = (hit & 1) + (hit >> 1 & 1) + (hit >> 2 & 1) + (hit >> 3);
          // Where nothing was hit nothing is kept.
          Lanes share = Load(dy + at + first, wide) / __builtin_convertvector(count, Lanes);
          for (int k = 0; k < 4; ++k) {
            Lanes part = (hit & (1 << k)) != 0 ? share : Lanes{};
            Store(to + (k / 2) * stride + (k % 2) * features + first, part, wide);
          }
        }
      }
    }
    return dz;
  }

  // dkernel[size, size, channels, features] and dbias[features]; `apart`, those of each image, one after
  // another.
  void WeightGradient(const float* x, const std::uint8_t* hits, const float* dy, float* dkernel,
                      float* dbias, bool apart) const {
    Index depth = size * Run(), pooled = Rows() / 2 * (Columns() / 2) * features;
    std::fill_n(dkernel, (apart ? batch : 1) * depth * features, 0.0f);
    std::fill_n(dbias, (apart ? batch : 1) * features, 0.0f);
    // Rows of windows whose gradients stay in the first cache.
    Index strip = std::max<Index>(2, 6144 / std::max<Index>(1, Columns() * kPanel) / 2 * 2);
    Index rows = Rows() / 2 * 2, panel_size = strip * Columns() * kPanel;
    float* packed = Scratch<0>(panel_size * Panels());
    for (Index image = 0; image < batch; ++image) {
      if (apart && image > 0) dkernel += depth * features, dbias += features;
      const float* from = Bordered(x + image * height * width * channels);
      for (Index i = image * pooled; i < (image + 1) * pooled; i += features) {
        for (Index n = 0; n < features; ++n) dbias[n] += hits[i + n] ? dy[i + n] : 0;
      }
      for (Index top = 0; top < rows; top += strip) {
        Index bottom = std::min(rows, top + strip);
        const float* panels = Unpool(dy + image * pooled, hits + image * pooled, top, bottom);
        if (features != kPanel) {
          Pack({panels, features, 1}, (bottom - top) * Columns(), features, packed);
          panels = packed;
        }
        for (Index p = 0; p < Panels(); ++p) {
          const float* panel = panels + p * (bottom - top) * Columns() * kPanel;
          Index wide = features - p * kPanel;
          for (Index ky = 0; ky < size; ++ky) {
            ForRows(Run(), [&]<int R>(Index i) {
              float* out = dkernel + (ky * Run() + i) * features + p * kPanel;
              Lanes sums[R][2];
              for (int j = 0; j < R; ++j) {
                sums[j][0] = Load(out + j * features, wide);
                sums[j][1] = Load(out + j * features + kLanes, wide - kLanes);
              }
              for (Index row = top; row < bottom; ++row) {
                Accumulate<R, 2>(sums, from + (row + ky) * Stride() + i, 1, channels,
                                 panel + (row - top) * Columns() * kPanel, kPanel, Columns());
              }
              for (int j = 0; j < R; ++j) {
                Store(out + j * features, sums[j][0], wide);
                Store(out + j * features + kLanes, sums[j][1], wide - kLanes);
              }
            });
          }
        }
      }
    }
  }

  // dx[batch, height, width, channels].
  void InputGradient(const float* kernel, const std::uint8_t* hits, const float* dy, float* dx) const {
    Index panels = (channels + kPanel - 1) / kPanel, taps = size * size;
    Index pooled = Rows() / 2 * (Columns() / 2) * features;
    // For every tap [features, channels], so that channels lie side by side.  Kernel rows are the inner
    // of both, since a tile adds them up.
    float* turned = Scratch<0>(taps * features * panels * kPanel);
    for (Index ky = 0; ky < size; ++ky) {
      for (Index kx = 0; kx < size; ++kx) {
        Pack({kernel + (ky * size + kx) * channels * features, 1, features}, features, channels,
             turned + (kx * size + ky) * features * panels * kPanel);
      }
    }
    Index rows = height + 2 * border;
    float* sum = border ? Scratch<2>(rows * Stride()) : nullptr;
    for (Index image = 0; image < batch; ++image) {
      const float* dz =
          Unpool(dy + image * pooled, hits + image * pooled, 0, Rows() / 2 * 2);
      float* whole = border ? sum : dx + image * height * width * channels;
      std::fill_n(whole, rows * Stride(), 0.0f);
      for (Index row = border; row < rows - border; ++row) {
        Index first = std::max<Index>(0, row - Rows() / 2 * 2 + 1), last = std::min(size - 1, row);
        for (Index kx = 0; kx < size; ++kx) {
          for (Index p = 0; p < panels; ++p) {
            Index wide = channels - p * kPanel;
            ForRows(Columns(), [&]<int R>(Index i) {
              float* out = whole + row * Stride() + (i + kx) * channels + p * kPanel;
              Lanes sums[R][2];
              for (int j = 0; j < R; ++j) {
                sums[j][0] = Load(out + j * channels, wide);
                sums[j][1] = Load(out + j * channels + kLanes, wide - kLanes);
              }
              for (Index ky = first; ky <= last; ++ky) {
                Accumulate<R, 2>(sums, dz + ((row - ky) * Columns() + i) * features, features, 1,
                                 turned + ((kx * size + ky) * panels + p) * features * kPanel, kPanel,
                                 features);
              }
              for (int j = 0; j < R; ++j) {
                Store(out + j * channels, sums[j][0], wide);
                Store(out + j * channels + kLanes, sums[j][1], wide - kLanes);
              }
            });
          }
        }
      }
      if (border) {
        for (Index y = 0; y < height; ++y) {
          std::memcpy(dx + (image * height + y) * width * channels,
                      sum + (y + border) * Stride() + border * channels, width * channels * sizeof(float));
        }
      }
    }
  }

 private:
  // Two rows of 2 * P windows, pooled to P places.
  template <int P>
  void Pool(const float* window, const float* panel, const float* bias, float* y, std::uint8_t* hits,
            Index wide) const {
    Lanes sums[4 * P][2] = {};
    for (Index ky = 0; ky < size; ++ky, window += Stride(), panel += Run() * kPanel) {
      const float *above = window, *below = window + Stride(), *b = panel;
      for (Index r = 0; r < Run(); ++r, ++above, ++below, b += kPanel) {
        Lanes b0 = Load(b), b1 = Load(b + kLanes);
#pragma GCC unroll 6
        for (int i = 0; i < 2 * P; ++i) {
          sums[i][0] += above[i * channels] * b0;
          sums[i][1] += above[i * channels] * b1;
          sums[2 * P + i][0] += below[i * channels] * b0;
          sums[2 * P + i][1] += below[i * channels] * b1;
        }
      }
    }
    for (int v = 0; v < 2; ++v) {
      Index left = wide - v * kLanes;
      if (left <= 0) break;
      Lanes shift = Load(bias + v * kLanes, left);
      for (int i = 0; i < P; ++i) {
        Lanes z[4] = {sums[2 * i][v] + shift, sums[2 * i + 1][v] + shift, sums[2 * P + 2 * i][v] + shift,
                      sums[2 * P + 2 * i + 1][v] + shift};
        Lanes most = Max(Max(z[0], z[1]), Max(z[2], z[3]));
        Flags hit{};
        for (int k = 0; k < 4; ++k) hit |= (z[k] == most) & (1 << k);
        hit &= most > 0;
        // Not Max: a NaN must stay one.
        Lanes out = most <= 0 ? Lanes{} : most;
        Store(y + i * features + v * kLanes, out, left);
        Bytes bytes = __builtin_convertvector(hit, Bytes);
        std::memcpy(hits + i * features + v * kLanes, &bytes, std::min(left, kLanes));
      }
    }
  }
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_CONVOLUTION_H_
