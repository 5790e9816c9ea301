// Vectors and elementary functions for one instruction set. compile_kernel.h includes this file once
// for each instruction set, inside the set's namespace, and sets LRN_VECTOR_BYTES to the width of a
// vector register. So this file includes no other and has no include guard.

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

// A bfloat16 number is the upper half of a float.
typedef uint16_t Halves __attribute__((vector_size(LRN_VECTOR_BYTES / 2)));
typedef uint32_t Words __attribute__((vector_size(LRN_VECTOR_BYTES)));

LRN_INLINE Vector<float> widen(const c10::BFloat16* from) {
  Halves upper;
  __builtin_memcpy(&upper, from, sizeof(upper));
  return (Vector<float>)(__builtin_convertvector(upper, Words) << 16);
}

// Rounds to nearest, ties to even.
LRN_INLINE void narrow(c10::BFloat16* to, Vector<float> value) {
  const Words bits = (Words)value;
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words is_nan = (Words)(value != value);
  const Halves upper = __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), Halves);
  __builtin_memcpy(to, &upper, sizeof(upper));
}

// Loads `count` elements of a row, and zeros for the other lanes.
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

// Stores the first `count` lanes.
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

template <typename S>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr int mantissa = 23;
  static constexpr int terms = 7;
  static constexpr float limit = 43.0f;
  static constexpr float smallest = -87.0f;
  static constexpr float round = 12582912.0f; // 1.5 * 2^23
  static constexpr float log2_e = 1.44269504088896341f;
  static constexpr float ln2_high = 0.693359375f;
  static constexpr float ln2_low = -2.12194440054690583e-4f;
  static constexpr float inverse_factorial[] = {
      1.0f, 1.0f, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
};

template <>
struct ExpConstants<double> {
  static constexpr int mantissa = 52;
  static constexpr int terms = 13;
  static constexpr double limit = 350.0;
  static constexpr double smallest = -708.0;
  static constexpr double round = 6755399441055744.0; // 1.5 * 2^52
  static constexpr double log2_e = 1.44269504088896340736;
  static constexpr double ln2_high = 6.93145751953125e-1;
  static constexpr double ln2_low = 1.42860682030941723212e-6;
  static constexpr double inverse_factorial[] = {
      1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
      1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
};

// Computes e^x = scale + product. With x = n ln 2 + r and |r| <= ln 2 / 2, scale is 2^n, and product
// is 2^n (e^r - 1) by the Taylor series of e^r - 1. NaN stays NaN. The caller keeps x in the range in
// which 2^n is a normal number: from `smallest` to about -`smallest`.
template <typename S>
LRN_INLINE void exponential(Vector<S> x, Vector<S>& scale, Vector<S>& product) {
  using C = ExpConstants<S>;
  using V = Vector<S>;
  using I = typename VectorOf<S>::bits;
  // Adding 1.5 * 2^mantissa rounds to an integer and leaves it in the low bits.
  const V shifted = x * C::log2_e + C::round;
  const V n = shifted - C::round;
  const V r = (x - n * C::ln2_high) - n * C::ln2_low;
  V series = V{} + C::inverse_factorial[C::terms];
  for (int k = C::terms - 1; k >= 1; --k) series = series * r + C::inverse_factorial[k];
  scale = (V)(((I)shifted << C::mantissa) + (I)(V{} + S(1)));
  product = scale * (series * r);
}

// Clamps x to +-limit. Beyond the limit, tanh is 1 to the type's precision.
template <typename S>
LRN_INLINE Vector<S> clamp(Vector<S> x) {
  using C = ExpConstants<S>;
  x = x > C::limit ? Vector<S>{} + C::limit : x;
  return x < -C::limit ? Vector<S>{} - C::limit : x;
}

template <typename S>
LRN_INLINE Vector<S> exp(Vector<S> x) {
  Vector<S> scale, product;
  exponential<S>(clamp<S>(x), scale, product);
  return product + scale;
}

// e^x - 1, without cancellation near 0.
template <typename S>
LRN_INLINE Vector<S> expm1(Vector<S> x) {
  Vector<S> scale, product;
  exponential<S>(clamp<S>(x), scale, product);
  return product + (scale - S(1));
}

// e^-|x|, or exactly 0 if -|x| is below `smallest`.
template <typename S>
LRN_INLINE Vector<S> exp_minus_abs(Vector<S> x) {
  using V = Vector<S>;
  using I = typename VectorOf<S>::bits;
  const V y = (V)((I)x | (I)(-V{}));  // sets the sign
  V scale, product;
  exponential<S>(y, scale, product);
  return y < ExpConstants<S>::smallest ? V{} : product + scale;
}

// sigmoid(x) and its derivative. Where a gate is closed, both are exactly 0: a state may be so large
// that its product with the smallest positive number is not small.
template <typename S>
struct Sigmoid {
  Vector<S> value, slope;

  // away: sigmoid(-|x|). towards: sigmoid(|x|).
  LRN_INLINE Sigmoid(Vector<S> x, Vector<S> away, Vector<S> towards)
      : value(x < S(0) ? away : towards), slope(away * towards) {}
};

template <typename S>
struct TwoSigmoids {
  Sigmoid<S> first, second;
};

// Computes the sigmoids of x and y with one division for both.
template <typename S>
LRN_INLINE TwoSigmoids<S> two_sigmoids(Vector<S> x, Vector<S> y) {
  const Vector<S> exp_x = exp_minus_abs<S>(x), exp_y = exp_minus_abs<S>(y);
  const Vector<S> a = exp_x + S(1), b = exp_y + S(1);
  const Vector<S> inverse = S(1) / (a * b);
  const Vector<S> towards_x = inverse * b, towards_y = inverse * a;
  return {{x, exp_x * towards_x, towards_x}, {y, exp_y * towards_y, towards_y}};
}

template <typename S>
LRN_INLINE Sigmoid<S> sigmoid(Vector<S> x) {
  const Vector<S> exp_x = exp_minus_abs<S>(x);
  const Vector<S> towards = S(1) / (exp_x + S(1));
  return {x, exp_x * towards, towards};
}

template <typename S>
LRN_INLINE Vector<S> tanh(Vector<S> x) {
  const Vector<S> e = expm1<S>(x + x);
  return e / (e + S(2));
}

// Prefetches the same features of the next sentence, `stride` elements away. The kernel needs them a
// few units later, and the processor's own prefetcher does not predict it. A prefetch beyond the end
// of the tensor has no effect.
template <int kForWriting, typename T>
LRN_INLINE void prefetch(const T* features, int64_t stride) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(features) + stride * sizeof(T);
  __builtin_prefetch(reinterpret_cast<const void*>(address), kForWriting);
}
