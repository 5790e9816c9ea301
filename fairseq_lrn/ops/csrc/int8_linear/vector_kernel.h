// The kernel of int8_linear for one instruction set. vector_kernels.h includes this file on top of
// vectors.h, and defines dot(), kUnsignedInputs and kBlockRows.

#include "../common/rows.h"

// Panels hold the weights of kTileOut outputs in vectors; a vector of sums belongs to kLanes<float> of
// these outputs.
constexpr int64_t kVectors = kTileOut / kLanes<float>;

// Rounds to the nearest integer, ties to even.
LRN_INLINE Sums rounded(Vector<float> value) {
#if LRN_VECTOR_BYTES == 64
  return (Sums)_mm512_maskz_cvtps_epi32(0xffff, (__m512)value);
#else
  return (Sums)_mm256_cvtps_epi32((__m256)value);
#endif
}

// Quantises the rows first ... last: x = scale * integer, with integers from -127 to 127, to which 128
// is added if kUnsigned. The padding of the rows and columns is zero. A row that is not finite cannot
// be quantised: its scale is NaN, so all of its results are NaN.
template <bool kUnsigned, typename T>
void quantise(const Product<T>& task, int64_t first, int64_t last) {
  typedef int8_t Bytes __attribute__((vector_size(LRN_VECTOR_BYTES / 4)));
  for (int64_t row = first; row < last; ++row) {
    const int64_t width = row < task.rows ? task.width : 0;
    const T* x = task.x + row * task.width;
    Vector<float> largest = {};
    Sums is_nan = {};
    for_each_vector<float>(width, [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
      const Vector<float> value = load<float>(x + j, count);
      const Vector<float> size = value < 0 ? -value : value;
      is_nan |= value != value;
      largest = size > largest ? size : largest;
    });
    float most = 0;
    bool finite = true;
    for (int64_t i = 0; i < kLanes<float>; ++i) {
      most = std::max(most, largest[i]);
      finite &= !is_nan[i];
    }
    finite &= most < std::numeric_limits<float>::infinity();
    task.scales[row] = finite ? most / 127 : std::numeric_limits<float>::quiet_NaN();
    // The inverse of a smaller scale would not be finite.
    const float inverse = finite && most > 1e-36f ? 127 / most : 0;
    int8_t* to = task.quantised + row * task.stride;
    for (int64_t j = 0; j < task.in; j += kLanes<float>) {
      const int64_t count = finite ? std::clamp<int64_t>(width - j, 0, kLanes<float>) : 0;
      Sums integers = {};
      if (count > 0) integers = rounded(load<float>(x + j, count) * inverse);
      if (kUnsigned) integers += 128;
      const Bytes bytes = __builtin_convertvector(integers, Bytes);
      __builtin_memcpy(to + j, &bytes, sizeof(bytes));
    }
  }
}

// Multiplies kRows rows by a panel, and stores the result.
template <int64_t kRows, typename T>
LRN_INLINE void multiply_rows(const Product<T>& task, int64_t row, int64_t panel) {
  Sums sums[kRows][kVectors] = {};
  const int8_t* x = task.quantised + row * task.stride;
  const int8_t* weights = task.panel(panel);
  for (int64_t k = 0; k < task.in; k += 4, weights += 4 * kTileOut) {
    Sums groups[kVectors]; // for each output, the weights of four inputs
#pragma GCC unroll 2
    for (int64_t v = 0; v < kVectors; ++v) {
      __builtin_memcpy(&groups[v], weights + v * sizeof(Sums), sizeof(Sums));
    }
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRows; ++r) {
      int32_t inputs;
      __builtin_memcpy(&inputs, x + r * task.stride + k, sizeof(inputs));
#pragma GCC unroll 2
      for (int64_t v = 0; v < kVectors; ++v) dot(sums[r][v], Sums{} + inputs, groups[v]);
    }
  }
#pragma GCC unroll 2
  for (int64_t v = 0; v < kVectors; ++v) {
    const int64_t lane = v * kLanes<float>, column = panel * kTileOut + lane;
    const int64_t count = std::min(task.out - column, kLanes<float>);
    if (count <= 0) return;
    Sums correction;
    __builtin_memcpy(&correction, task.panel_sums(panel) + lane, sizeof(correction));
    const Vector<float> scale = load<float>(task.panel_scales(panel) + lane, kLanes<float>);
    Vector<float> bias = {};
    if (task.bias) bias = load<float>(task.bias + column, count);
#pragma GCC unroll 16
    for (int64_t r = 0; r < kRows; ++r) {
      // Unsigned inputs are larger by 128. The sum of their products may exceed 2^31, but it wraps
      // around, and so does the subtraction.
      const Sums exact = kUnsignedInputs ? sums[r][v] - 128 * correction : sums[r][v];
      const Vector<float> value = __builtin_convertvector(exact, Vector<float>) * scale;
      store<float>(
          task.result + (row + r) * task.out + column, value * task.scales[row + r] + bias, count);
    }
  }
}

// Multiplies `count` rows, at most kRows, by a panel.
template <int64_t kRows, typename T>
LRN_INLINE void multiply_some_rows(
    const Product<T>& task, int64_t row, int64_t count, int64_t panel) {
  if (count == kRows) {
    multiply_rows<kRows>(task, row, panel);
  } else if constexpr (kRows > 1) {
    multiply_some_rows<kRows - 1>(task, row, count, panel);
  }
}

// Multiplies the panels first ... last.
template <typename T>
void multiply_panels(const Product<T>& task, int64_t first, int64_t last) {
  for (int64_t panel = first; panel < last; ++panel) {
    for (int64_t row = 0; row < task.rows; row += kBlockRows) {
      multiply_some_rows<kBlockRows>(task, row, std::min(kBlockRows, task.rows - row), panel);
    }
  }
}
