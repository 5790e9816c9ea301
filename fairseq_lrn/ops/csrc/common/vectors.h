// Vectors of one instruction set: included by instruction_sets.h once for each, inside a namespace
// of its own and with LRN_VECTOR_BYTES, the width of a vector register, set.

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

// e^x as scale + product: x = n ln 2 + r with |r| <= ln 2 / 2, scale = 2^n, and product =
// 2^n (e^r - 1), with the Taylor series of e^r - 1. x is clamped to +-Constants::limit, beyond
// which sigmoid and tanh are 0 or 1 to the type's precision; the product of two such exponentials
// is still finite. NaN stays NaN.
template <typename S>
LRN_INLINE void exponential(Vector<S> x, Vector<S>& scale, Vector<S>& product) {
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
  scale = (V)(((I)shifted << C::mantissa) + (I)(V{} + S(1)));
  product = scale * (series * r);
}

template <typename S>
LRN_INLINE Vector<S> exp(Vector<S> x) {
  Vector<S> scale, product;
  exponential<S>(x, scale, product);
  return product + scale;
}

// exp(x) - 1, without cancellation near 0.
template <typename S>
LRN_INLINE Vector<S> expm1(Vector<S> x) {
  Vector<S> scale, product;
  exponential<S>(x, scale, product);
  return product + (scale - S(1));
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
