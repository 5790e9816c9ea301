// The likeliest symbols of rows of logits for one instruction set; see instruction_sets.h.

#include "rows.h"

// Symbols whose largest logit is found together.
constexpr int64_t kChunk = 64;

template <typename S>
LRN_INLINE S largest_of(Vector<S> lanes) {
  S largest = lanes[0];
  for (int64_t i = 1; i < kLanes<S>; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

// Rows first to last of a Top, see there. The k-th largest of the chunks' largest logits is a
// lower bound of the k-th largest logit: only chunks that reach it are looked at again.
template <typename T, typename S>
void top(const Top<T, S>& top, int64_t first, int64_t last) {
  const int64_t chunks = (top.symbols + kChunk - 1) / kChunk;
  std::vector<S> largest(chunks), ordered(chunks);
  std::vector<std::pair<S, int64_t>> found;
  for (int64_t row = first; row < last; ++row) {
    const T* logits = top.logits + row * top.symbols;
    for (int64_t c = 0; c < chunks; ++c) {
      const T* chunk = logits + c * kChunk;
      Vector<S> lanes = Vector<S>{} - std::numeric_limits<S>::infinity();
      for_row<S>(std::min(kChunk, top.symbols - c * kChunk), [&](int64_t j, int64_t count)
                                                                 LRN_INLINE_LAMBDA {
        const Vector<S> logit = load_logits<S>(chunk + j, count, -std::numeric_limits<S>::infinity());
        lanes = logit > lanes ? logit : lanes;
      });
      largest[c] = largest_of<S>(lanes);
    }
    S bound = -std::numeric_limits<S>::infinity();
    if (top.k <= chunks) {
      ordered = largest;
      std::nth_element(
          ordered.begin(), ordered.begin() + (top.k - 1), ordered.end(), std::greater<S>());
      bound = ordered[top.k - 1];
    }
    found.clear();
    for (int64_t c = 0; c < chunks; ++c) {
      if (largest[c] < bound) continue;
      const int64_t end = std::min((c + 1) * kChunk, top.symbols);
      for (int64_t j = c * kChunk; j < end; ++j) {
        const S logit = logits[j];
        if (logit >= bound) found.emplace_back(logit, j);
      }
    }
    const Normaliser<S> of = normaliser<T, S>(logits, top.symbols);
    // A row with NaN has no order; it gets no probability at all.
    const bool is_nan = std::isnan(of.maximum) || std::isnan(of.log_sum) ||
        static_cast<int64_t>(found.size()) < top.k;
    if (!is_nan) {
      std::partial_sort(
          found.begin(), found.begin() + top.k, found.end(), [](const auto& a, const auto& b) {
            return a.first > b.first || (a.first == b.first && a.second < b.second);
          });
    }
    for (int64_t i = 0; i < top.k; ++i) {
      top.log_p[row * top.k + i] =
          is_nan ? -std::numeric_limits<S>::infinity() : of.log_p(found[i].first);
      top.found[row * top.k + i] = is_nan ? i : found[i].second;
    }
  }
}
