// Products with a matrix most of whose numbers are zero: what was bought, the places that were visited, the
// terms of a post.
//
// A product with zero adds nothing, and the others are added in the order of `Multiply`: as long as all numbers
// are finite the sums are those of `Multiply`, bit for bit.
#ifndef JLEAKS_HOST_SPARSE_H_
#define JLEAKS_HOST_SPARSE_H_

#include <bit>

#include "lanes.h"
#include "product.h"

namespace jleaks {

// Of so many numbers at most one is other than zero in what is worth listing.
constexpr Index kSparse = 4;
// Rows by which it is seen first.
constexpr Index kProbe = 2;
// Vectors of sums that stay in registers.
constexpr Index kWide = 8;

// The highest bit of each of eight octets, the first octet the lowest, is set where a number is not zero.
constexpr std::uint64_t kHighest = 0x8080808080808080;

inline std::uint64_t Little(std::uint64_t word) {
  return std::endian::native == std::endian::big ? __builtin_bswap64(word) : word;
}

inline std::uint64_t NotZero(const std::uint8_t* eight) {
  std::uint64_t word;
  std::memcpy(&word, eight, sizeof(word));
  word = Little(word);
  return (((word & ~kHighest) + ~kHighest) | word) & kHighest;
}

inline std::uint64_t NotZero(const float* eight) {
  typedef float Eight __attribute__((vector_size(32), aligned(4)));
  typedef std::int8_t Octets __attribute__((vector_size(8)));
  auto octets = __builtin_convertvector(*reinterpret_cast<const Eight*>(eight) != 0, Octets);
  std::uint64_t word;
  std::memcpy(&word, &octets, sizeof(word));
  return Little(word) & kHighest;
}

// Of every choice of eight places: those that are in it, in order.
struct Places {
  constexpr Places() {
    for (int choice = 0; choice < 256; ++choice) {
      for (int place = 0, count = 0; place < 8; ++place) {
        if (choice >> place & 1) chosen[choice][count++] = place;
      }
    }
  }
  alignas(32) std::int32_t chosen[256][8] = {};
};
inline constexpr Places kPlaces;

// Writes to `out` which of row[size] are not zero, in order; returns how many.  Up to 8 more are written over.
template <typename Number>
Index FindNonZeros(const Number* row, Index size, std::int32_t* out) {
  typedef std::int32_t Eight __attribute__((vector_size(32), aligned(4)));
  constexpr Index kWords = 4;
  Index k = 0, count = 0;
  for (; k + 8 * kWords <= size; k += 8 * kWords) {
    std::uint64_t bits[kWords], any = 0;
    for (int w = 0; w < kWords; ++w) any |= bits[w] = NotZero(row + k + 8 * w);
    if (!any) continue;
    // No branch on each of them: where they are cannot be foreseen.  The product gathers eight bits in one octet.
    for (int w = 0; w < kWords; ++w) {
      const std::int32_t* places = kPlaces.chosen[(bits[w] >> 7) * 0x0102040810204080 >> 56];
      *reinterpret_cast<Eight*>(out + count) =
          *reinterpret_cast<const Eight*>(places) + static_cast<std::int32_t>(k + 8 * w);
      count += __builtin_popcountll(bits[w]);
    }
  }
  for (; k < size; ++k) {
    out[count] = static_cast<std::int32_t>(k);
    count += row[k] != 0;
  }
  return count;
}

// The numbers of a matrix other than zero: those of row i, in the order of columns, are at begin[i] up to
// begin[i + 1].
struct NonZeros {
  std::int32_t *begin = nullptr, *column = nullptr;
  float* value = nullptr;

  explicit operator bool() const { return begin; }
};

// Lists those of a[rows, inner], unless a product with so many columns is faster over all numbers.
template <typename Number>
NonZeros ListRows(const Number* a, Index rows, Index inner, Index columns) {
  if (columns < kPanel || inner < kPanel) return {};
  Index most = rows * inner / kSparse, count = 0;
  // Of a row at most all are listed before it is seen that they are too many.
  NonZeros out{Scratch<4, std::int32_t>(rows + 1), Scratch<5, std::int32_t>(most + inner + 8),
               Scratch<6>(most + inner)};
  for (Index i = 0; i < rows; ++i) {
    const Number* row = a + i * inner;
    std::int32_t* found = out.column + count;
    float* value = out.value + count;
    Index here = FindNonZeros(row, inner, found);
    for (Index e = 0; e < here; ++e) value[e] = row[found[e]];
    out.begin[i] = static_cast<std::int32_t>(count);
    count += here;
    // Most dense matrices are known by their first rows.
    if (count > most || (i == kProbe - 1 && count > 2 * kProbe * inner / kSparse)) return {};
  }
  out.begin[rows] = static_cast<std::int32_t>(count);
  return out;
}

// Lists the columns of a matrix whose rows are listed.
inline NonZeros ListColumns(const NonZeros& a, Index rows, Index columns) {
  Index count = a.begin[rows];
  NonZeros out{Scratch<7, std::int32_t>(columns + 2), Scratch<8, std::int32_t>(count), Scratch<9>(count)};
  // One further on, so that placing the numbers leaves begin[k] where column k begins.
  std::int32_t* next = out.begin + 1;
  std::fill_n(out.begin, columns + 2, 0);
  for (Index e = 0; e < count; ++e) ++next[a.column[e] + 1];
  for (Index k = 0; k < columns; ++k) next[k + 1] += next[k];
  for (Index i = 0; i < rows; ++i) {
    for (Index e = a.begin[i]; e < a.begin[i + 1]; ++e) {
      std::int32_t to = next[a.column[e]]++;
      out.column[to] = static_cast<std::int32_t>(i);
      out.value[to] = a.value[e];
    }
  }
  return out;
}

// As `Multiply`, of a[rows, inner] by its numbers other than zero and b[inner, columns].
template <typename Finish>
void MultiplySparse(const NonZeros& a, const float* b, float* c, Index rows, Index inner, Index columns,
                    const Finish& finish) {
  constexpr Index kBlock = kWide * kLanes, kFirstCache = 8192;
  for (Index first = 0; first < columns; first += kBlock) {
    Index width = std::min(columns - first, kBlock), vectors = (width + kLanes - 1) / kLanes;
    const float* from = b + first;
    Index stride = columns;
    // Rows that end within a vector, or, a power of two apart, collide in the first cache.
    if (width % kLanes || inner * width <= kFirstCache) {
      stride = vectors * kLanes;
      float* packed = Scratch<0>(inner * stride);
      for (Index k = 0; k < inner; ++k) {
        for (Index n = 0; n < width; n += kLanes) {
          Store(packed + k * stride + n, Load(from + k * columns + n, width - n));
        }
      }
      from = packed;
    }
    auto block = [&]<int V>() {
      for (Index i = 0; i < rows; ++i) {
        Lanes sums[V] = {};
        for (Index e = a.begin[i]; e < a.begin[i + 1]; ++e) {
          const float* row = from + a.column[e] * stride;
          Lanes value = Fill(a.value[e]);
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) sums[v] = MultiplyAdd(value, Load(row + v * kLanes), sums[v]);
        }
        for (int v = 0; v < V; ++v) {
          Index column = first + v * kLanes;
          finish(sums[v], c + i * columns + column, column, columns - column);
        }
      }
    };
    switch (vectors) {
      case 1: block.template operator()<1>(); break;
      case 2: block.template operator()<2>(); break;
      case 3: block.template operator()<3>(); break;
      case 4: block.template operator()<4>(); break;
      case 5: block.template operator()<5>(); break;
      case 6: block.template operator()<6>(); break;
      case 7: block.template operator()<7>(); break;
      case 8: block.template operator()<8>(); break;
    }
  }
}

}  // namespace jleaks

#endif  // JLEAKS_HOST_SPARSE_H_
