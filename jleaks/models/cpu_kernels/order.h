// Positions in the order of random words, and records of a batch.
#ifndef JLEAKS_HOST_ORDER_H_
#define JLEAKS_HOST_ORDER_H_

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "lanes.h"

namespace jleaks {

// order[i] is the position of the i-th smallest word; equal words keep their order.  A radix sort, eleven
// bits at a time.
inline void Order(const std::uint32_t* words, std::int32_t* order, Index size) {
  constexpr int kBits = 11;
  constexpr std::uint32_t kBuckets = 1u << kBits;
  using Pair = std::pair<std::uint32_t, std::int32_t>;
  std::vector<Pair> from(size), to(size);
  std::uint32_t any = 0, all = ~0u;
  for (Index i = 0; i < size; ++i) any |= words[i], all &= words[i];
  for (Index i = 0; i < size; ++i) from[i] = {words[i], static_cast<std::int32_t>(i)};
  for (int shift = 0; shift < 32; shift += kBits) {
    // Bits that all words share order nothing: flags take one pass.
    if (((any ^ all) >> shift & (kBuckets - 1)) == 0) continue;
    std::vector<Index> ends(kBuckets + 1, 0);
    for (const Pair& pair : from) ++ends[((pair.first >> shift) & (kBuckets - 1)) + 1];
    for (std::uint32_t b = 0; b < kBuckets; ++b) ends[b + 1] += ends[b];
    for (const Pair& pair : from) to[ends[(pair.first >> shift) & (kBuckets - 1)]++] = pair;
    std::swap(from, to);
  }
  for (Index i = 0; i < size; ++i) order[i] = from[i].second;
}

// Records of a batch: where record rows[i] is; rows outside count as the nearest inside.
struct Rows {
  const std::uint8_t* records;
  const std::int32_t* rows;
  Index count, num_records, bytes;

  const std::uint8_t* operator[](Index i) const {
    return records + std::clamp<Index>(rows[i], 0, num_records - 1) * bytes;
  }

  // Records lie anywhere in memory: asks for one long before it is read.
  void Prefetch(Index i) const {
    if (i >= count) return;
    const std::uint8_t* from = (*this)[i];
    for (Index byte = 0; byte < bytes; byte += 64) __builtin_prefetch(from + byte);
  }

  void Copy(std::uint8_t* out) const {
    for (Index i = 0; i < count; ++i) {
      Prefetch(i + kAhead);
      std::memcpy(out + i * bytes, (*this)[i], bytes);
    }
  }

  void Convert(float* out) const {
    for (Index i = 0; i < count; ++i, out += bytes) {
      Prefetch(i + kAhead);
      const std::uint8_t* from = (*this)[i];
      for (Index j = 0; j < bytes; ++j) out[j] = from[j];
    }
  }

  static constexpr Index kAhead = 6;
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_ORDER_H_
