// The most probable tokens of rows of logits for one instruction set. compile_kernel.h includes this
// file.

#include "../common/rows.h"

// Number of tokens in a chunk. A row is searched chunk by chunk.
constexpr int64_t kChunk = 64;

template <typename S>
LRN_INLINE S largest_lane(Vector<S> lanes) {
  S largest = lanes[0];
  for (int64_t i = 1; i < kLanes<S>; ++i) largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

// Computes the rows first ... last. The k-th largest of the chunks' maxima is a lower bound of the
// k-th largest logit, so only the chunks whose maximum reaches this bound are searched again.
template <typename T, typename S>
void top_k(const TopK<T, S>& top, int64_t first, int64_t last) {
  const int64_t chunks = (top.vocabulary + kChunk - 1) / kChunk;
  std::vector<S> largest(chunks), ordered(chunks);
  std::vector<std::pair<S, int64_t>> candidates; // logit and token
  for (int64_t row = first; row < last; ++row) {
    const T* logits = top.logits + row * top.vocabulary;
    for (int64_t c = 0; c < chunks; ++c) {
      const T* chunk = logits + c * kChunk;
      Vector<S> lanes = Vector<S>{} - std::numeric_limits<S>::infinity();
      const int64_t size = std::min(kChunk, top.vocabulary - c * kChunk);
      for_each_vector<S>(size, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        const Vector<S> logit =
            load_logits<S>(chunk + j, count, -std::numeric_limits<S>::infinity());
        lanes = logit > lanes ? logit : lanes;
      });
      largest[c] = largest_lane<S>(lanes);
    }
    S bound = -std::numeric_limits<S>::infinity();
    if (top.k <= chunks) {
      ordered = largest;
      std::nth_element(
          ordered.begin(), ordered.begin() + (top.k - 1), ordered.end(), std::greater<S>());
      bound = ordered[top.k - 1];
    }
    candidates.clear();
    for (int64_t c = 0; c < chunks; ++c) {
      if (largest[c] < bound) continue;
      const int64_t end = std::min((c + 1) * kChunk, top.vocabulary);
      for (int64_t j = c * kChunk; j < end; ++j) {
        const S logit = logits[j];
        if (logit >= bound) candidates.emplace_back(logit, j);
      }
    }
    const Normaliser<S> softmax = normaliser<T, S>(logits, top.vocabulary);
    // A row with NaN cannot be ordered. It gets log-probabilities of -inf.
    const bool is_nan = std::isnan(softmax.maximum) || std::isnan(softmax.log_sum) ||
        static_cast<int64_t>(candidates.size()) < top.k;
    if (!is_nan) {
      std::partial_sort(
          candidates.begin(),
          candidates.begin() + top.k,
          candidates.end(),
          [](const auto& a, const auto& b) {
            return a.first > b.first || (a.first == b.first && a.second < b.second);
          });
    }
    for (int64_t i = 0; i < top.k; ++i) {
      top.log_p[row * top.k + i] =
          is_nan ? -std::numeric_limits<S>::infinity() : softmax.log_p(candidates[i].first);
      top.tokens[row * top.k + i] = is_nan ? i : candidates[i].second;
    }
  }
}
