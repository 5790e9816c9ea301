// Softmax and the gradient of cross entropy for one instruction set. compile_kernel.h includes this
// file.

#include "../common/rows.h"

// Computes the rows first ... last of a batch with one pass.
template <typename T, typename S>
void one_pass(const Rows<T, S>& rows, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    T* logits = rows.logits + row * rows.vocabulary;
    T& target = logits[rows.target[row]];
    const S target_logit = target;
    const Normaliser<S> softmax = normaliser<T, S>(logits, rows.vocabulary);
    rows.nll[row] = -softmax.log_p(target_logit);
    rows.target_logits[row] = target_logit;
    if (!rows.gradient) continue;
    for_each_vector<S>(rows.vocabulary, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      store<S>(logits + j, exp<S>(softmax.log_p(load<S>(logits + j, count))), count);
    });
    target = static_cast<T>(std::exp(softmax.log_p(target_logit)) - rows.right);
  }
}

// Computes the pairs of rows first ... last of a batch with two passes, a and b. A row of b is `count`
// rows after its row of a.
template <typename T, typename S>
void two_passes(const Rows<T, S>& rows, int64_t first, int64_t last) {
  const S w = rows.weight;
  for (int64_t row = first; row < last; ++row) {
    T* a = rows.logits + row * rows.vocabulary;
    T* b = a + rows.count * rows.vocabulary;
    T& target_a = a[rows.target[row]];
    T& target_b = b[rows.target[row]];
    const S logit_a = target_a, logit_b = target_b;
    const Normaliser<S> softmax_a = normaliser<T, S>(a, rows.vocabulary);
    const Normaliser<S> softmax_b = normaliser<T, S>(b, rows.vocabulary);
    rows.target_logits[row] = logit_a;
    rows.target_logits[row + rows.count] = logit_b;
    rows.nll[row] = -softmax_a.log_p(logit_a);
    rows.nll[row + rows.count] = -softmax_b.log_p(logit_b);
    Vector<S> lanes_ab = {}, lanes_ba = {};
    for_each_vector<S>(rows.vocabulary, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<S> log_a = softmax_a.log_p(load_logits<S>(a + j, count));
      const Vector<S> log_b = softmax_b.log_p(load_logits<S>(b + j, count));
      lanes_ab += exp<S>(log_a) * (log_a - log_b);
      lanes_ba += exp<S>(log_b) * (log_b - log_a);
    });
    const S ab = sum<S>(lanes_ab), ba = sum<S>(lanes_ba);
    rows.divergence[row] = S(0.5) * (ab + ba);
    if (!rows.gradient) continue;
    // The derivative of KL(a || b) is p_a (log p_a - log p_b - KL(a || b)) with respect to the logits
    // of a, and p_b - p_a with respect to the logits of b.
    const auto gradient = [&](Vector<S> p, Vector<S> q, Vector<S> gap, S divergence)
                              LRN_INLINE_LAMBDA {
      return p * (S(1) + w * (gap - divergence)) + w * (p - q);
    };
    for_each_vector<S>(rows.vocabulary, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<S> log_a = softmax_a.log_p(load<S>(a + j, count));
      const Vector<S> log_b = softmax_b.log_p(load<S>(b + j, count));
      const Vector<S> p_a = exp<S>(log_a), p_b = exp<S>(log_b);
      store<S>(a + j, gradient(p_a, p_b, log_a - log_b, ab), count);
      store<S>(b + j, gradient(p_b, p_a, log_b - log_a, ba), count);
    });
    const S log_a = softmax_a.log_p(logit_a), log_b = softmax_b.log_p(logit_b);
    const S p_a = std::exp(log_a), p_b = std::exp(log_b), gap = log_a - log_b;
    target_a = static_cast<T>(p_a * (1 + w * (gap - ab)) + w * (p_a - p_b) - rows.right);
    target_b = static_cast<T>(p_b * (1 - w * (gap + ba)) + w * (p_b - p_a) - rows.right);
  }
}
