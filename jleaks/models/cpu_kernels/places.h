// Where scores stand among those of a target's non-members.
#ifndef JLEAKS_HOST_PLACES_H_
#define JLEAKS_HOST_PLACES_H_

#include <bit>
#include <cstdint>
#include <limits>

#include "lanes.h"

namespace jleaks {

// Sorts numbers by their upper halves, eleven bits at a time; `other` is as large.  Returns where they are then.
inline std::uint64_t* SortByUpper(std::uint64_t* from, std::uint64_t* other, Index size) {
  constexpr int kBits = 11, kPasses = 3;
  constexpr std::uint32_t kBuckets = 1u << kBits;
  Index starts[kPasses][kBuckets] = {};
  for (Index i = 0; i < size; ++i) {
    for (int p = 0; p < kPasses; ++p) ++starts[p][(from[i] >> (32 + p * kBits)) & (kBuckets - 1)];
  }
  for (int p = 0; p < kPasses; ++p) {
    Index sum = 0;
    for (Index& start : starts[p]) sum += std::exchange(start, sum);
    for (Index i = 0; i < size; ++i) other[starts[p][(from[i] >> (32 + p * kBits)) & (kBuckets - 1)]++] = from[i];
    std::swap(from, other);
  }
  return from;
}

// A row of scores and the positions of the non-members in it; those outside the row fill the list up.
struct Row {
  const float* scores;
  const std::int32_t* outside;
  Index records, most;

  // The others' scores, negated and ascending, infinity behind the last; and of every record how many of them
  // are above it, and how many a threshold at its score lets in.
  void Places(float* others, std::int32_t* above, std::int32_t* let_in) const {
    std::uint64_t* keys = Scratch<0, std::uint64_t>(2 * records);
    std::uint8_t* is_other = Scratch<1, std::uint8_t>(records);
    std::fill_n(is_other, records, std::uint8_t{0});
    for (Index j = 0; j < most; ++j) {
      if (outside[j] >= 0 && outside[j] < records) is_other[outside[j]] = 1;
    }
    for (Index i = 0; i < records; ++i) keys[i] = std::uint64_t{Key(-scores[i])} << 32 | std::uint32_t(i);
    const std::uint64_t* sorted = SortByUpper(keys, keys + records, records);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const std::uint32_t infinity = Key(kInfinity);
    Index count = 0;
    for (Index start = 0, end; start < records; start = end) {
      std::uint32_t key = sorted[start] >> 32;
      std::int32_t before = static_cast<std::int32_t>(count);
      for (end = start; end < records && sorted[end] >> 32 == key; ++end) {
        std::uint32_t at = static_cast<std::uint32_t>(sorted[end]);
        if (is_other[at]) others[count++] = Negated(scores[at]);
      }
      // What fills the list up is infinite, too.
      std::int32_t after = static_cast<std::int32_t>(key == infinity ? most : count);
      for (Index i = start; i < end; ++i) {
        std::uint32_t at = static_cast<std::uint32_t>(sorted[i]);
        above[at] = before;
        let_in[at] = after;
      }
    }
    std::fill(others + count, others + most, kInfinity);
  }

  // Of the others in their order, where each one's tie begins and where it ends; behind the last: the end.
  void Ties(const float* others, std::int32_t* begin, std::int32_t* end) const {
    begin[most] = end[most] = static_cast<std::int32_t>(most);
    for (Index first = 0, next; first < most; first = next) {
      for (next = first + 1; next < most && others[next] == others[first];) ++next;
      std::fill(begin + first, begin + next, static_cast<std::int32_t>(first));
      std::fill(end + first, end + next, static_cast<std::int32_t>(next));
    }
  }

  // How many of the members, whose list is filled up like that of the others, have an `above` + `let_in` of at
  // most 0, 1, ..., 2 * most.
  void UpTo(const std::int32_t* inside, Index members, const std::int32_t* above, const std::int32_t* let_in,
            std::int32_t* up_to) const {
    std::fill_n(up_to, 2 * most + 1, 0);
    for (Index j = 0; j < members; ++j) {
      if (inside[j] >= 0 && inside[j] < records) ++up_to[above[inside[j]] + let_in[inside[j]]];
    }
    for (Index k = 1; k <= 2 * most; ++k) up_to[k] += up_to[k - 1];
  }

  // Zero has one sign.
  static float Negated(float score) { return score == 0 ? 0 : -score; }

  // Numbers in the order of floats; NaN, which cannot be ranked, is behind all.
  static std::uint32_t Key(float value) {
    if (value != value) return ~std::uint32_t{0};
    std::uint32_t bits = std::bit_cast<std::uint32_t>(value == 0 ? 0.0f : value);
    return bits >> 31 ? ~bits : bits | 1u << 31;
  }
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_PLACES_H_
