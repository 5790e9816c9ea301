// Rows of numbers and their softmax, for one instruction set. Kernel files include this file on top
// of vectors.h.

// Calls body(j, count) for each vector of a row of `size` elements: j is the vector's first element.
// count is kLanes<S>, or less for the last vector.
template <typename S, typename Body>
LRN_INLINE void for_each_vector(int64_t size, const Body& body) {
  int64_t j = 0;
  for (; j + kLanes<S> <= size; j += kLanes<S>) body(j, kLanes<S>);
  if (j < size) body(j, size - j);
}

// Loads logits for a softmax: the lanes beyond the end of a row get `rest`, a logit so small that its
// probability is 0.
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

// log p = (logit - maximum) - log_sum. maximum and log_sum are kept apart because their sum would
// lose the digits of the smaller one.
template <typename S>
struct Normaliser {
  S maximum, log_sum;

  template <typename V>
  LRN_INLINE V log_p(V logit) const {
    return (logit - maximum) - log_sum;
  }
};

// The normaliser of a row of logits. It is NaN if a logit is NaN.
template <typename T, typename S>
LRN_INLINE Normaliser<S> normaliser(const T* logits, int64_t vocabulary) {
  Vector<S> largest = Vector<S>{} + S(-1e30);
  for_each_vector<S>(vocabulary, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    const Vector<S> logit = load_logits<S>(logits + j, count);
    // This may keep or lose a NaN; the sum below always gets it.
    largest = logit <= largest ? largest : logit;
  });
  S maximum = largest[0];
  for (int64_t i = 1; i < kLanes<S>; ++i) {
    maximum = largest[i] <= maximum ? maximum : largest[i];
  }
  Vector<S> total = {};
  for_each_vector<S>(vocabulary, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
    total += exp<S>(load_logits<S>(logits + j, count) - maximum);
  });
  return {maximum, std::log(sum<S>(total))};
}
