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
