// The LRN recurrence for one instruction set. lrn_scan.cpp includes this file once for each,
// inside a namespace of its own and with LRN_VECTOR_BYTES, the width of a vector register, set.
//
// A lane is one feature of one sentence; lanes never meet. So every lane is
// computed by the same operations wherever it lies and whichever thread has it: the result has
// the same bits at any number of threads.

template <typename S>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(LRN_VECTOR_BYTES)));
  typedef int32_t bits __attribute__((vector_size(LRN_VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(LRN_VECTOR_BYTES)));
  typedef int64_t bits __attribute__((vector_size(LRN_VECTOR_BYTES)));
};
template <typename S>
using Vector = typename VectorOf<S>::type;
template <typename S>
constexpr int64_t kLanes = LRN_VECTOR_BYTES / static_cast<int64_t>(sizeof(S));

// bfloat16 is the upper half of a float.
typedef uint16_t Halves __attribute__((vector_size(LRN_VECTOR_BYTES / 2)));
typedef uint32_t Words __attribute__((vector_size(LRN_VECTOR_BYTES)));

LRN_INLINE Vector<float> widen(const c10::BFloat16* from) {
  Halves upper;
  __builtin_memcpy(&upper, from, sizeof(upper));
  return (Vector<float>)(__builtin_convertvector(upper, Words) << 16);
}

// To the nearest, ties to even.
LRN_INLINE void narrow(c10::BFloat16* to, Vector<float> value) {
  const Words bits = (Words)value;
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words is_nan = (Words)(value != value);
  const Halves upper = __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), Halves);
  __builtin_memcpy(to, &upper, sizeof(upper));
}

// count < kLanes<S> only at the end of a row.
template <typename S, typename T>
LRN_INLINE Vector<S> load(const T* from, int64_t count) {
  Vector<S> result;
  if (std::is_same_v<S, T> && count == kLanes<S>) {
    __builtin_memcpy(&result, from, sizeof(result));
    return result;
  }
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    if (count == kLanes<S>) return widen(from);
  }
  S buffer[kLanes<S>] = {};
  for (int64_t i = 0; i < count; ++i) buffer[i] = static_cast<S>(from[i]);
  __builtin_memcpy(&result, buffer, sizeof(result));
  return result;
}

template <typename S, typename T>
LRN_INLINE void store(T* to, Vector<S> value, int64_t count) {
  if (std::is_same_v<S, T> && count == kLanes<S>) {
    __builtin_memcpy(to, &value, sizeof(value));
    return;
  }
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    if (count == kLanes<S>) return narrow(to, value);
  }
  S buffer[kLanes<S>];
  __builtin_memcpy(buffer, &value, sizeof(value));
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(buffer[i]);
}

// exp(x) - 1, without cancellation near 0: x = n ln 2 + r with |r| <= ln 2 / 2, then
// 2^n (e^r - 1) + (2^n - 1), with the Taylor series of e^r - 1. x is clamped to
// +-Constants::limit, beyond which sigmoid and tanh are 0 or 1 to the type's precision; the
// product of two such exponentials is still finite. NaN stays NaN.
template <typename S>
LRN_INLINE Vector<S> expm1(Vector<S> x) {
  using C = Constants<S>;
  using V = Vector<S>;
  using I = typename VectorOf<S>::bits;
  x = x > C::limit ? V{} + C::limit : x;
  x = x < -C::limit ? V{} - C::limit : x;
  // Adding 1.5 * 2^mantissa rounds to an integer and leaves it in the low bits.
  const V shifted = x * C::log2_e + C::round;
  const V n = shifted - C::round;
  const V r = (x - n * C::ln2_high) - n * C::ln2_low;
  V series = V{} + C::inverse_factorial[C::terms];
  for (int k = C::terms - 1; k >= 1; --k) series = series * r + C::inverse_factorial[k];
  const V one = V{} + S(1);
  const V scale = (V)(((I)shifted << C::mantissa) + (I)one);
  return scale * (series * r) + (scale - one);
}

// sigmoid(x) and sigmoid(y), with one division for the two.
template <typename S>
LRN_INLINE void two_sigmoids(Vector<S> x, Vector<S> y, Vector<S>& of_x, Vector<S>& of_y) {
  const Vector<S> a = expm1<S>(-x) + S(2);
  const Vector<S> b = expm1<S>(-y) + S(2);
  const Vector<S> inverse = S(1) / (a * b);
  of_x = inverse * b;
  of_y = inverse * a;
}

template <typename S>
LRN_INLINE Vector<S> sigmoid(Vector<S> x) {
  return S(1) / (expm1<S>(-x) + S(2));
}

template <typename S>
LRN_INLINE Vector<S> tanh(Vector<S> x) {
  const Vector<S> e = expm1<S>(x + x);
  return e / (e + S(2));
}

// Asks for the same features of the next sentence: they are wanted a few units from now, and the
// processor does not foresee it. Beyond the end of the tensor a prefetch does nothing.
template <int kForWriting, typename T>
LRN_INLINE void prefetch(const T* features, int64_t stride) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(features) + stride * sizeof(T);
  __builtin_prefetch(reinterpret_cast<const void*>(address), kForWriting);
}

// Units first to last of a Scan, see there. Time is the outer loop, so that memory is read and
// written in order; the states of a group of units stay in the cache.
template <typename T, typename S, bool kTanh, bool kOutputGate>
void forward(const Scan<T, S>& scan, int64_t first, int64_t last) {
  for (int64_t step = 0; step < scan.time; ++step) {
    const int64_t t = scan.reverse ? scan.time - 1 - step : step;
    for (int64_t index = first; index < last; ++index) {
      const Unit<T, S> unit(scan, index);
      const S* previous = unit.previous(scan, step, t);
      S* state = unit.state(scan, t);
      T* h = unit.h(scan, t);
      if (unit.is_padding(scan, t)) {
        for (int64_t j = 0; j < unit.size; j += kLanes<S>) {
          const int64_t count = std::min(kLanes<S>, unit.size - j);
          const Vector<S> carried = load<S>(previous + j, count);
          store<S>(state + j, carried, count);
          if constexpr (!std::is_same_v<S, T>) store<S>(h + j, carried, count);
        }
        continue;
      }
      const T* k = unit.kqv(scan, t);
      const T* q = k + scan.hidden;
      const T* v = q + scan.hidden;
      const T* o = v + scan.hidden;
      const S* bias_k = scan.bias + unit.feature;
      const S* bias_q = bias_k + scan.hidden;
      const S* bias_v = bias_q + scan.hidden;
      const S* bias_o = bias_v + scan.hidden;
      auto lanes = [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        prefetch<0>(k + j, scan.kqv_batch);
        prefetch<0>(q + j, scan.kqv_batch);
        prefetch<0>(v + j, scan.kqv_batch);
        if constexpr (kOutputGate) prefetch<0>(o + j, scan.kqv_batch);
        prefetch<1>(h + j, scan.h_batch);
        const Vector<S> last_h = load<S>(previous + j, count);
        Vector<S> input_gate, forget_gate;
        two_sigmoids<S>(
            load<S>(k + j, count) + load<S>(bias_k + j, count) + last_h,
            load<S>(q + j, count) + load<S>(bias_q + j, count) - last_h,
            input_gate,
            forget_gate);
        const Vector<S> value = load<S>(v + j, count) + load<S>(bias_v + j, count);
        Vector<S> next = input_gate * value + forget_gate * last_h;
        if constexpr (kTanh) next = tanh<S>(next);
        if constexpr (kOutputGate) {
          next = sigmoid<S>(load<S>(o + j, count) + load<S>(bias_o + j, count) - next) * next;
        }
        store<S>(state + j, next, count);
        if constexpr (!std::is_same_v<S, T>) store<S>(h + j, next, count);
      };
      int64_t j = 0;
      for (; j + kLanes<S> <= unit.size; j += kLanes<S>) lanes(j, kLanes<S>);
      if (j < unit.size) lanes(j, unit.size - j);
    }
  }
}

// Recomputes the gates from the saved states. scan.grad_h0 carries the gradient of the state
// from step to step; it starts as zero.
template <typename T, typename S, bool kTanh, bool kOutputGate>
void backward(const Scan<T, S>& scan, int64_t first, int64_t last) {
  const int64_t grad_stride = scan.gates * scan.hidden;
  for (int64_t step = scan.time - 1; step >= 0; --step) {
    const int64_t t = scan.reverse ? scan.time - 1 - step : step;
    for (int64_t index = first; index < last; ++index) {
      const Unit<T, S> unit(scan, index);
      const S* previous = unit.previous(scan, step, t);
      const S* state = unit.state(scan, t);
      const T* grad_h = unit.grad_h(scan, t);
      S* grad_state = unit.grad_state(scan);
      T* grad_k = unit.grad_kqv(scan, t);
      T* grad_q = grad_k + scan.hidden;
      T* grad_v = grad_q + scan.hidden;
      T* grad_o = grad_v + scan.hidden;
      if (unit.is_padding(scan, t)) {
        for (int64_t gate = 0; gate < (kOutputGate ? 4 : 3); ++gate) {
          std::fill_n(grad_k + gate * scan.hidden, unit.size, T(0));
        }
        for (int64_t j = 0; j < unit.size; j += kLanes<S>) {
          const int64_t count = std::min(kLanes<S>, unit.size - j);
          const Vector<S> grad = load<S>(grad_state + j, count) + load<S>(grad_h + j, count);
          store<S>(grad_state + j, grad, count);
        }
        continue;
      }
      const T* k = unit.kqv(scan, t);
      const T* q = k + scan.hidden;
      const T* v = q + scan.hidden;
      const T* o = v + scan.hidden;
      const S* bias_k = scan.bias + unit.feature;
      const S* bias_q = bias_k + scan.hidden;
      const S* bias_v = bias_q + scan.hidden;
      const S* bias_o = bias_v + scan.hidden;
      auto lanes = [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        prefetch<0>(k + j, scan.kqv_batch);
        prefetch<0>(q + j, scan.kqv_batch);
        prefetch<0>(v + j, scan.kqv_batch);
        if constexpr (kOutputGate) prefetch<0>(o + j, scan.kqv_batch);
        prefetch<0>(grad_h + j, scan.grad_batch);
        prefetch<0>(previous + j, scan.h_batch);
        prefetch<1>(grad_k + j, grad_stride);
        prefetch<1>(grad_q + j, grad_stride);
        prefetch<1>(grad_v + j, grad_stride);
        if constexpr (kOutputGate) prefetch<1>(grad_o + j, grad_stride);
        const Vector<S> last_h = load<S>(previous + j, count);
        const Vector<S> value = load<S>(v + j, count) + load<S>(bias_v + j, count);
        Vector<S> input_gate, forget_gate;
        two_sigmoids<S>(
            load<S>(k + j, count) + load<S>(bias_k + j, count) + last_h,
            load<S>(q + j, count) + load<S>(bias_q + j, count) - last_h,
            input_gate,
            forget_gate);
        Vector<S> grad = load<S>(grad_state + j, count) + load<S>(grad_h + j, count);
        if constexpr (kOutputGate) {
          Vector<S> cell = input_gate * value + forget_gate * last_h;
          if constexpr (kTanh) cell = tanh<S>(cell);
          const Vector<S> output_gate =
              sigmoid<S>(load<S>(o + j, count) + load<S>(bias_o + j, count) - cell);
          const Vector<S> through_gate = grad * cell * output_gate * (S(1) - output_gate);
          store<S>(grad_o + j, through_gate, count);
          grad = grad * output_gate - through_gate;
          if constexpr (kTanh) grad = grad * (S(1) - cell * cell);
        } else if constexpr (kTanh) {
          const Vector<S> now = load<S>(state + j, count);
          grad = grad * (S(1) - now * now);
        }
        const Vector<S> to_k = grad * value * input_gate * (S(1) - input_gate);
        const Vector<S> to_q = grad * last_h * forget_gate * (S(1) - forget_gate);
        store<S>(grad_k + j, to_k, count);
        store<S>(grad_q + j, to_q, count);
        store<S>(grad_v + j, grad * input_gate, count);
        store<S>(grad_state + j, grad * forget_gate + to_k - to_q, count);
      };
      int64_t j = 0;
      for (; j + kLanes<S> <= unit.size; j += kLanes<S>) lanes(j, kLanes<S>);
      if (j < unit.size) lanes(j, unit.size - j);
    }
  }
}
