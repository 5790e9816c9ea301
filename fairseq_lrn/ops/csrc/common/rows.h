// Rows of numbers and their softmax, for one instruction set: included by kernels, on top of vector.h.

// Beyond the end of a row there are symbols without probability: rest is a very small logit.
template <typename S, typename T>
LRN_INLINE Vector<S> load_logits(const T* from, int64_t count, S rest = S(-1e30)) {
  if (count == kLanes<S>) return load<S>(from, count);
  S buffer[kLanes<S>];
  std::fill_n(buffer, kLanes<S>, rest);
  for (int64_t i = 0; i < count; ++i) buffer[i] = static_cast<S>(from[i]);
  return load<S>(buffer, kLanes<S>);
}

template <typename S>
LRN_INLINE S sum(Vector<S> lanes) {
  S total = 0;
  for (int64_t i = 0; i < kLanes<S>; ++i) total += lanes[i];
  return total;
}

// Calls lanes(j, count) for the vectors of a row.
template <typename S, typename Lanes>
LRN_INLINE void for_row(int64_t size, const Lanes& lanes) {
  int64_t j = 0;
  for (; j + kLanes<S> <= size; j += kLanes<S>) lanes(j, kLanes<S>);
  if (j < size) lanes(j, size - j);
}

// log p = (logit - maximum) - log_sum. Their sum would be rounded to the digits of the larger.
template <typename S>
struct Normaliser {
  S maximum, log_sum;

  template <typename V>
  LRN_INLINE V log_p(V logit) const {
    return (logit - maximum) - log_sum;
  }
};

template <typename T, typename S>
LRN_INLINE Normaliser<S> normaliser(const T* logits, int64_t symbols) {
  Vector<S> largest = Vector<S>{} + S(-1e30);
  for_row<S>(symbols, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    const Vector<S> logit = load_logits<S>(logits + j, count);
    // NaN may stay here or not; it comes into the sum.
    largest = logit <= largest ? largest : logit;
  });
  S maximum = largest[0];
  for (int64_t i = 1; i < kLanes<S>; ++i) {
    maximum = largest[i] <= maximum ? maximum : largest[i];
  }
  Vector<S> total = {};
  for_row<S>(symbols, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    total += exp<S>(load_logits<S>(logits + j, count) - maximum);
  });
  return {maximum, std::log(sum<S>(total))};
}
