// Vectors of the machine, and the register tile that all products and convolutions are made of.
//
// A tile is kRows (or fewer) rows times V vectors of sums that stay in registers while the reduction
// runs: every step loads V vectors of b and broadcasts one number of a for each row.
#ifndef JLEAKS_HOST_LANES_H_
#define JLEAKS_HOST_LANES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#if defined(__SSE__)
#include <immintrin.h>
#endif

namespace jleaks {

using Index = std::ptrdiff_t;

// Numbers in a vector, and rows of a tile: 2 * kRows sums, two vectors of b and a broadcast fit in the
// 32 (AVX-512, NEON) or 16 (AVX2) registers.
#if defined(__AVX512F__)
constexpr Index kLanes = 16, kRows = 12;
#elif defined(__AVX__)
constexpr Index kLanes = 8, kRows = 6;
#else
constexpr Index kLanes = 4, kRows = 12;
#endif
// Numbers in a row of a full tile.
constexpr Index kPanel = 2 * kLanes;

typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4)));
typedef std::int32_t Flags __attribute__((vector_size(4 * kLanes)));
typedef std::uint8_t Bytes __attribute__((vector_size(kLanes)));
typedef std::uint8_t UnalignedBytes __attribute__((vector_size(kLanes), aligned(1)));

inline Lanes Load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void Store(float* p, Lanes v) { *reinterpret_cast<Unaligned*>(p) = v; }
inline Lanes Fill(float x) { return Lanes{} + x; }
inline Lanes Max(Lanes a, Lanes b) { return a > b ? a : b; }
inline Lanes Min(Lanes a, Lanes b) { return a < b ? a : b; }

// a b + c, rounded once where the machine can; compilers that may choose choose differently from loop to loop.
inline Lanes MultiplyAdd(Lanes a, Lanes b, Lanes c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX__) && defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

inline Lanes Sqrt(Lanes x) {
  Lanes root;
  for (Index i = 0; i < kLanes; ++i) root[i] = __builtin_sqrtf(x[i]);
  return root;
}

// The natural logarithm of positive numbers, none of them denormal, within two units in the last place: by
// exponent, and the polynomial of the Cephes library for what is left in [sqrt(1/2), sqrt(2)).
inline Lanes Log(Lanes x) {
  constexpr float kSeries[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                               -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                               2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
  Flags bits;
  std::memcpy(&bits, &x, sizeof bits);
  Flags exponent = (bits >> 23) - 127, mantissa = (bits & 0x7FFFFF) | 0x3F800000;
  Lanes m;
  std::memcpy(&m, &mantissa, sizeof m);
  // Comparisons are -1 where they hold.
  Flags large = m > 1.41421356f;
  m = large ? m * 0.5f : m;
  Lanes e = __builtin_convertvector(exponent - large, Lanes), f = m - 1.0f, square = f * f;
  Lanes series = Fill(kSeries[0]);
  for (int i = 1; i < 9; ++i) series = series * f + kSeries[i];
  Lanes y = f * square * series - 2.12194440e-4f * e - 0.5f * square;
  return f + y + 0.693359375f * e;
}

// Whether a comparison holds anywhere.
inline bool Any(Flags flags) {
#if defined(__AVX__) && !defined(__AVX512F__)
  return !_mm256_testz_si256(reinterpret_cast<__m256i>(flags), reinterpret_cast<__m256i>(flags));
#else
  std::int32_t any = 0;
  for (Index i = 0; i < kLanes; ++i) any |= flags[i];
  return any != 0;
#endif
}

inline float Highest(Lanes x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(x);
#else
  float most = x[0];
  for (Index i = 1; i < kLanes; ++i) most = std::max(most, x[i]);
  return most;
#endif
}

inline float Total(Lanes x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(x);
#else
  float total = 0;
  for (Index i = 0; i < kLanes; ++i) total += x[i];
  return total;
#endif
}

// The first `width` numbers at p, `others` after them.
inline Lanes Load(const float* p, Index width, float others = 0) {
  if (width >= kLanes) return Load(p);
  if (width <= 0) return Fill(others);
#if defined(__AVX512F__)
  return _mm512_mask_loadu_ps(Fill(others), static_cast<__mmask16>((1u << width) - 1), p);
#else
  alignas(64) float all[kLanes];
  Store(all, Fill(others));
  std::memcpy(all, p, width * sizeof(float));
  return Load(all);
#endif
}

inline void Store(float* p, Lanes v, Index width) {
  if (width >= kLanes) return Store(p, v);
  if (width <= 0) return;
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << width) - 1), v);
#else
  alignas(64) float all[kLanes];
  Store(all, v);
  std::memcpy(p, all, width * sizeof(float));
#endif
}

// Memory of a thread that is kept from call to call; `Role`s do not overlap.
template <int Role, typename Number = float>
Number* Scratch(Index size) {
  thread_local std::unique_ptr<Number[]> memory;
  thread_local Index held = 0;
  if (held < size) {
    memory.reset(new Number[size + 64 / sizeof(Number)]);
    held = size;
  }
  auto address = reinterpret_cast<std::uintptr_t>(memory.get());
  return reinterpret_cast<Number*>((address + 63) & ~std::uintptr_t{63});
}

template <int R, int V>
using Sums = Lanes[R][V];

// sums[i] += sum over r of a[i * row + r * step] * b[r * panel], where V vectors begin; they are copied to
// keep[r * kPanel] unless it is null.
template <int R, int V>
inline __attribute__((always_inline)) void Accumulate(Sums<R, V>& sums, const float* a, Index row,
                                                      Index step, const float* b, Index panel, Index length,
                                                      float* keep = nullptr) {
  for (Index r = 0; r < length; ++r, a += step, b += panel) {
    Lanes vectors[V];
    for (int v = 0; v < V; ++v) vectors[v] = Load(b + v * kLanes);
    if (keep) {
      for (int v = 0; v < V; ++v) Store(keep + r * kPanel + v * kLanes, vectors[v]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sums[i][v] += a[i * row] * vectors[v];
    }
  }
}

// Calls body.template operator()<R>(first) for groups of rows, all about equally large.
template <typename Body>
inline void ForRows(Index rows, const Body& body) {
  Index groups = (rows + kRows - 1) / kRows;
  for (Index first = 0; groups > 0; --groups) {
    Index size = (rows - first + groups - 1) / groups;
    switch (size) {
      case 1: body.template operator()<1>(first); break;
      case 2: body.template operator()<2>(first); break;
      case 3: body.template operator()<3>(first); break;
      case 4: body.template operator()<4>(first); break;
      case 5: body.template operator()<5>(first); break;
      case 6: body.template operator()<6>(first); break;
#if defined(__AVX512F__) || !defined(__AVX__)
      case 7: body.template operator()<7>(first); break;
      case 8: body.template operator()<8>(first); break;
      case 9: body.template operator()<9>(first); break;
      case 10: body.template operator()<10>(first); break;
      case 11: body.template operator()<11>(first); break;
      case 12: body.template operator()<12>(first); break;
#endif
    }
    first += size;
  }
}

}  // namespace jleaks

#endif  // JLEAKS_HOST_LANES_H_
