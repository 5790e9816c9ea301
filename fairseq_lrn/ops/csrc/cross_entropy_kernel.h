// Softmax and the gradient of cross entropy for one instruction set, on top of vector.h; see
// instruction_sets.h.

// Beyond the end of a row there are symbols without probability.
template <typename S, typename T>
LRN_INLINE Vector<S> load_logits(const T* from, int64_t count) {
  if (count == kLanes<S>) return load<S>(from, count);
  S buffer[kLanes<S>];
  std::fill_n(buffer, kLanes<S>, S(-1e30));
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
    // NaN stays: a comparison with it is false.
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

// Rows first to last of a Rows without a second pass, see there.
template <typename T, typename S>
void one_pass(const Rows<T, S>& rows, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    T* logits = rows.logits + row * rows.symbols;
    T& target = logits[rows.target[row]];
    const S target_logit = target;
    const Normaliser<S> of = normaliser<T, S>(logits, rows.symbols);
    rows.nll[row] = -of.log_p(target_logit);
    rows.target_logits[row] = target_logit;
    if (!rows.gradient) continue;
    for_row<S>(rows.symbols, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      store<S>(logits + j, exp<S>(of.log_p(load<S>(logits + j, count))), count);
    });
    target = static_cast<T>(std::exp(of.log_p(target_logit)) - rows.right);
  }
}

// Pairs first to last of a Rows with a second pass.
template <typename T, typename S>
void two_passes(const Rows<T, S>& rows, int64_t first, int64_t last) {
  const S w = rows.weight;
  for (int64_t row = first; row < last; ++row) {
    T* a = rows.logits + row * rows.symbols;
    T* b = a + rows.count * rows.symbols;
    T& target_a = a[rows.target[row]];
    T& target_b = b[rows.target[row]];
    const S logit_a = target_a, logit_b = target_b;
    const Normaliser<S> of_a = normaliser<T, S>(a, rows.symbols);
    const Normaliser<S> of_b = normaliser<T, S>(b, rows.symbols);
    rows.target_logits[row] = logit_a;
    rows.target_logits[row + rows.count] = logit_b;
    rows.nll[row] = -of_a.log_p(logit_a);
    rows.nll[row + rows.count] = -of_b.log_p(logit_b);
    Vector<S> lanes_ab = {}, lanes_ba = {};
    for_row<S>(rows.symbols, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<S> log_a = of_a.log_p(load_logits<S>(a + j, count));
      const Vector<S> log_b = of_b.log_p(load_logits<S>(b + j, count));
      lanes_ab += exp<S>(log_a) * (log_a - log_b);
      lanes_ba += exp<S>(log_b) * (log_b - log_a);
    });
    const S ab = sum<S>(lanes_ab), ba = sum<S>(lanes_ba);
    rows.divergence[row] = S(0.5) * (ab + ba);
    if (!rows.gradient) continue;
    // d KL(a || b) / d logits of a = p_a (log p_a - log p_b - KL(a || b)); of b: p_b - p_a.
    const auto gradient = [&](Vector<S> p, Vector<S> q, Vector<S> gap, S divergence)
                              LRN_INLINE_LAMBDA {
      return p * (S(1) + w * (gap - divergence)) + w * (p - q);
    };
    for_row<S>(rows.symbols, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<S> log_a = of_a.log_p(load<S>(a + j, count));
      const Vector<S> log_b = of_b.log_p(load<S>(b + j, count));
      const Vector<S> p_a = exp<S>(log_a), p_b = exp<S>(log_b);
      store<S>(a + j, gradient(p_a, p_b, log_a - log_b, ab), count);
      store<S>(b + j, gradient(p_b, p_a, log_b - log_a, ba), count);
    });
    const S log_a = of_a.log_p(logit_a), log_b = of_b.log_p(logit_b);
    const S p_a = std::exp(log_a), p_b = std::exp(log_b), gap = log_a - log_b;
    target_a = static_cast<T>(p_a * (1 + w * (gap - ab)) + w * (p_a - p_b) - rows.right);
    target_b = static_cast<T>(p_b * (1 - w * (gap + ba)) + w * (p_b - p_a) - rows.right);
  }
}
