// JAX's own random words, sixteen at a time: Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel
// random numbers: as easy as 1, 2, 3"), counting positions as `jax_threefry_partitionable` does.
#ifndef JLEAKS_HOST_RANDOM_H_
#define JLEAKS_HOST_RANDOM_H_

#include <cstdint>
#include <cstring>

#include "lanes.h"

namespace jleaks {

typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));

struct Threefry {
  std::uint32_t key[2];

  // The words at positions [first, first + kLanes) of an array of fewer than 2^32.
  Words At(std::uint32_t first) const {
    constexpr int kTurns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    const std::uint32_t keys[3] = {key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDAu};
    Words a = Words{} + keys[0], b;
    for (Index i = 0; i < kLanes; ++i) b[i] = first + static_cast<std::uint32_t>(i);
    b += keys[1];
    for (int group = 0; group < 5; ++group) {
      for (int turn : kTurns[group % 2]) {
        a += b;
        b = (b << turn | b >> (32 - turn)) ^ a;
      }
      a += keys[(group + 1) % 3];
      b += keys[(group + 2) % 3] + static_cast<std::uint32_t>(group + 1);
    }
    return a ^ b;
  }

  // `jax.random.normal` at positions [first, first + kLanes): the square root of two times the inverse of the
  // error function (Giles 2012, "Approximating the erfinv function") of numbers that are uniform in (-1, 1).
  Lanes Normals(std::uint32_t first) const {
    constexpr float kLowest = -0.99999994f, kRoot = 1.41421356f;
    constexpr float kNear[] = {2.81022636e-08f, 3.43273939e-07f,  -3.5233877e-06f,
                               -4.39150654e-06f, 0.00021858087f,  -0.00125372503f,
                               -0.00417768164f, 0.246640727f,     1.50140941f};
    constexpr float kFar[] = {-0.000200214257f, 0.000100950558f, 0.00134934322f,
                              -0.00367342844f,  0.00573950773f,  -0.0076224613f,
                              0.00943887047f,   1.00167406f,     2.83297682f};
    Words words = At(first) >> 9 | 0x3F800000u;
    Lanes ones;
    std::memcpy(&ones, &words, sizeof ones);
    Lanes x = Max((ones - 1.0f) * (1.0f - kLowest) + kLowest, jleaks::Fill(kLowest));
    Lanes w = -Log((1.0f - x) * (1.0f + x)), near = w - 2.5f, scale = jleaks::Fill(kNear[0]);
    for (int i = 1; i < 9; ++i) scale = scale * near + kNear[i];
    // One number in three hundred.
    if (Flags tail = w >= 5.0f; Any(tail)) {
      Lanes far = Sqrt(w) - 3.0f, other = jleaks::Fill(kFar[0]);
      for (int i = 1; i < 9; ++i) other = other * far + kFar[i];
      scale = tail ? other : scale;
    }
    return kRoot * x * scale;
  }

  void FillNormals(float* out, Index size) const {
    for (Index i = 0; i < size; i += kLanes) Store(out + i, Normals(static_cast<std::uint32_t>(i)), size - i);
  }

  void Fill(std::uint32_t* out, Index size) const {
    for (Index i = 0; i < size; i += kLanes) {
      Words words = At(static_cast<std::uint32_t>(i));
      std::memcpy(out + i, &words, std::min(kLanes, size - i) * sizeof(std::uint32_t));
    }
  }

  // What inverted dropout multiplies by: 1 / keep where a uniform number, as JAX makes it of a word, is
  // below `keep`, otherwise 0.
  void Drop(float keep, float* out, Index size) const {
    float kept = 1 / keep;
    for (Index i = 0; i < size; i += kLanes) {
      Words words = At(static_cast<std::uint32_t>(i)) >> 9 | 0x3F800000u;
      Lanes uniform;
      std::memcpy(&uniform, &words, sizeof uniform);
      Store(out + i, uniform - 1.0f < keep ? jleaks::Fill(kept) : Lanes{}, size - i);
    }
  }
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_RANDOM_H_
