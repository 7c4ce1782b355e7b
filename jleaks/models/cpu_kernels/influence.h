// What records add to the errors of a row's measures (see jleaks/metrics/bank_metrics.py, influence).
#ifndef JLEAKS_HOST_INFLUENCE_H_
#define JLEAKS_HOST_INFLUENCE_H_

#include <cstdint>

#include "lanes.h"

namespace jleaks {

// One row of scores, ranked; `up_to` as of Row::UpTo.
struct RankedRow {
  const float* scores;
  const std::uint8_t *is_member, *is_other;
  const std::int32_t *above, *let_in, *up_to;
  Index records;
  float members, others, auc, threshold;

  // Adds weight times the influences to sums [4 + 2 * rates][records]: on the area, balanced accuracy, precision
  // and recall, and on the members and the others found at `rates` numbers of others.
  void Add(const std::int32_t* near, Index rates, float weight, float* sums) const {
    Index called_members = 0, called_others = 0;
    for (Index i = 0; i < records; ++i) {
      bool called = scores[i] >= threshold;
      called_members += called & is_member[i];
      called_others += called & is_other[i];
    }
    float recall = called_members / members, fallout = called_others / others;
    float called = std::max<float>(called_members + called_others, 1), precision = called_members / called;
    float of_member = weight / members, of_other = weight / others, of_called = weight / called;
    float *area = sums, *balanced = sums + records, *precise = balanced + records, *found = precise + records;
    // Without branches, many records at a time.
    for (Index i = 0; i < records; ++i) {
      float mine = is_member[i] ? of_member : 0, its = is_other[i] ? of_other : 0;
      float named = scores[i] >= threshold;
      std::int32_t beside = above[i] + let_in[i];
      float members_above = static_cast<float>(up_to[2 * above[i]] + up_to[beside]);
      float for_member = 1 - static_cast<float>(beside) / (2 * others);
      area[i] += mine * (for_member - auc) + its * (members_above / (2 * members) - auc);
      balanced[i] += (mine * (named - recall) - its * (named - fallout)) / 2;
      found[i] += mine * (named - recall);
      float audited = is_member[i] | is_other[i], kind = is_member[i];
      precise[i] += of_called * named * audited * (kind - precision);
    }
    for (Index r = 0; r < rates; ++r) {
      AddRate(is_member, let_in, near[r], members, weight, sums + (4 + r) * records);
      AddRate(is_other, above, near[r], others, weight, sums + (4 + rates + r) * records);
    }
  }

  // Of the records of one kind, `size` of them, those with at most so many.
  void AddRate(const std::uint8_t* kind, const std::int32_t* numbers, std::int32_t most, float size, float weight,
               float* sums) const {
    Index found = 0;
    for (Index i = 0; i < records; ++i) found += kind[i] & (numbers[i] <= most);
    float rate = found / size, scale = weight / size;
    for (Index i = 0; i < records; ++i) sums[i] += kind[i] ? scale * ((numbers[i] <= most) - rate) : 0.0f;
  }
};

}  // namespace jleaks

#endif  // JLEAKS_HOST_INFLUENCE_H_
