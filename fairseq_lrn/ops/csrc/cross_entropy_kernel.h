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

template <typename T, typename S>
LRN_INLINE S log_normaliser(const T* logits, int64_t symbols) {
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
  return maximum + std::log(sum<S>(total));
}

// Rows first to last of a Rows without a second pass, see there.
template <typename T, typename S>
void one_pass(const Rows<T, S>& rows, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    T* logits = rows.logits + row * rows.symbols;
    T& target = logits[rows.target[row]];
    const S target_logit = target;
    const S normaliser = log_normaliser<T, S>(logits, rows.symbols);
    rows.nll[row] = normaliser - target_logit;
    rows.target_logits[row] = target_logit;
    if (!rows.gradient) continue;
    for_row<S>(rows.symbols, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      store<S>(logits + j, exp<S>(load<S>(logits + j, count) - normaliser), count);
    });
    target = static_cast<T>(std::exp(target_logit - normaliser) - rows.right);
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
    const S normaliser_a = log_normaliser<T, S>(a, rows.symbols);
    const S normaliser_b = log_normaliser<T, S>(b, rows.symbols);
    rows.target_logits[row] = logit_a;
    rows.target_logits[row + rows.count] = logit_b;
    rows.nll[row] = normaliser_a - logit_a;
    rows.nll[row + rows.count] = normaliser_b - logit_b;
    Vector<S> lanes_ab = {}, lanes_ba = {};
    for_row<S>(rows.symbols, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<S> log_a = load_logits<S>(a + j, count) - normaliser_a;
      const Vector<S> log_b = load_logits<S>(b + j, count) - normaliser_b;
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
      const Vector<S> log_a = load<S>(a + j, count) - normaliser_a;
      const Vector<S> log_b = load<S>(b + j, count) - normaliser_b;
      const Vector<S> p_a = exp<S>(log_a), p_b = exp<S>(log_b);
      store<S>(a + j, gradient(p_a, p_b, log_a - log_b, ab), count);
      store<S>(b + j, gradient(p_b, p_a, log_b - log_a, ba), count);
    });
    const S log_a = logit_a - normaliser_a, log_b = logit_b - normaliser_b;
    const S p_a = std::exp(log_a), p_b = std::exp(log_b), gap = log_a - log_b;
    target_a = static_cast<T>(p_a * (1 + w * (gap - ab)) + w * (p_a - p_b) - rows.right);
    target_b = static_cast<T>(p_b * (1 - w * (gap + ba)) + w * (p_b - p_a) - rows.right);
  }
}
