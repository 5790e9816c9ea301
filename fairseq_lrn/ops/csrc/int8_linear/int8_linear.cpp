// CPU kernels of the operators int8_linear and has_int8_tiles, whose schemas are in
// fairseq_lrn/ops/int8_linear.py. They need the tile registers of Intel AMX: one instruction multiplies
// a tile of 16 x 64 by a tile of 64 x 16 8-bit integers.
//
// These kernels use AMX intrinsics and exist for one instruction set only. So this file does not use
// compile_kernel.h and LRN_DISPATCH, and checks the processor itself.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <optional>

#include "../common/instruction_sets.h"
#include "../common/threads.h"

#if defined(__x86_64__) && defined(__linux__) && __has_include(<amxint8intrin.h>) && \
    !defined(LRN_NO_TILES)
#define LRN_TILES
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// Sizes of the tiles: rows of x, outputs, and inputs. Inputs are stored in groups of four.
constexpr int64_t kTileRows = 16, kTileOut = 16, kTileIn = 64;
constexpr int64_t kTileBytes = kTileOut * kTileIn;
// With this many inputs, the sum of products of up to 127 * 127 stays below 2^31.
constexpr int64_t kMaxInputs = 100'000;
// Size of the scales of a panel's outputs, which follow the panel's tiles.
constexpr int64_t kScaleBytes = kTileOut * static_cast<int64_t>(sizeof(float));

int64_t round_up(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

// x W^T + b, where T is the type of x and of the result.
template <typename T>
struct Product {
  int64_t rows, in, out; // in: number of inputs of the padded weight
  const T* x; // rows x width
  int64_t width;
  int8_t* quantised; // x in 8 bits: rows, padded to whole tiles, x stride
  int64_t stride;
  float* scales; // scales of the rows of x, padded to whole tiles
  const int8_t* panels; // out/16 x (16 in + kScaleBytes), see fairseq_lrn/ops/int8_linear.py
  const float* bias; // out, or null
  T* result; // rows x out
};

} // namespace

#ifdef LRN_TILES

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#endif

namespace {

inline __m512 load_lanes(const float* from, __mmask16 lanes) {
  return _mm512_maskz_loadu_ps(lanes, from);
}

inline __m512 load_lanes(const c10::BFloat16* from, __mmask16 lanes) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

inline void store_lanes(float* to, __mmask16 lanes, __m512 value) {
  _mm512_mask_storeu_ps(to, lanes, value);
}

inline void store_lanes(c10::BFloat16* to, __mmask16 lanes, __m512 value) {
  _mm256_mask_storeu_epi16(to, lanes, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
}

inline __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << std::max<int64_t>(0, count)) - 1);
}

// Quantises the rows first ... last: x = scale * integer, with integers from -127 to 127. The padding
// of the rows and columns is zero. A row that is not finite cannot be quantised: its scale is NaN, so
// all of its results are NaN.
template <typename T>
void quantise(const Product<T>& task, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; ++row) {
    const int64_t width = row < task.rows ? task.width : 0;
    const T* x = task.x + row * task.width;
    __m512 largest = _mm512_setzero_ps();
    __mmask16 is_nan = 0;
    for (int64_t j = 0; j < width; j += 16) {
      const __m512 value = load_lanes(x + j, first_lanes(width - j));
      is_nan |= _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
      largest = _mm512_max_ps(largest, _mm512_abs_ps(value));
    }
    const float most = _mm512_reduce_max_ps(largest);
    const bool finite = !is_nan && most < std::numeric_limits<float>::infinity();
    task.scales[row] = finite ? most / 127 : std::numeric_limits<float>::quiet_NaN();
    // The inverse of a smaller scale would not be finite.
    const __m512 inverse = _mm512_set1_ps(finite && most > 1e-36f ? 127 / most : 0);
    for (int64_t j = 0; j < task.in; j += 16) {
      const __mmask16 lanes = finite ? first_lanes(width - j) : 0;
      __m512i rounded = _mm512_setzero_si512();
      if (lanes) rounded = _mm512_cvtps_epi32(_mm512_mul_ps(load_lanes(x + j, lanes), inverse));
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(task.quantised + row * task.stride + j),
          _mm512_cvtsepi32_epi8(rounded));
    }
  }
}

struct alignas(64) TileShapes {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

// The shapes of all tile registers: 16 rows of 64 bytes. This is no local variable, because some
// compilers do not see that _tile_loadconfig reads all of it.
constexpr TileShapes kTileShapes = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

// Scales a tile of sums, adds the bias, and stores the tile in the result at (row, column).
template <typename T>
inline void store_tile(
    const Product<T>& task, const int8_t* panel, const int32_t* sums, int64_t row, int64_t column) {
  if (column >= task.out) return;
  const __mmask16 lanes = first_lanes(task.out - column);
  const __m512 scale =
      _mm512_loadu_ps(reinterpret_cast<const float*>(panel + task.in / kTileIn * kTileBytes));
  const __m512 bias =
      task.bias ? _mm512_maskz_loadu_ps(lanes, task.bias + column) : _mm512_setzero_ps();
  const int64_t rows = std::min(kTileRows, task.rows - row);
  T* to = task.result + row * task.out + column;
  for (int64_t i = 0; i < rows; ++i) {
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums + 16 * i));
    const __m512 row_scale = _mm512_set1_ps(task.scales[row + i]);
    store_lanes(
        to + i * task.out, lanes, _mm512_fmadd_ps(_mm512_mul_ps(sum, scale), row_scale, bias));
  }
}

// Multiplies two tiles of rows, or the last tile, by two panels. The four tiles of sums and the four
// operands fill all tile registers.
template <typename T>
inline void multiply_block(const Product<T>& task, int64_t row, int64_t pair) {
  alignas(64) int32_t sums[4][kTileRows * kTileOut];
  const int64_t steps = task.in / kTileIn, panels = (task.out + kTileOut - 1) / kTileOut;
  const int64_t panel_bytes = steps * kTileBytes + kScaleBytes;
  const int8_t* left = task.panels + 2 * pair * panel_bytes;
  // A last panel without a partner is multiplied twice.
  const int8_t* right = 2 * pair + 1 < panels ? left + panel_bytes : left;
  const int8_t* upper = task.quantised + row * task.stride;
  const int8_t* lower = upper + kTileRows * task.stride;
  const bool has_lower = row + kTileRows < task.rows;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  if (has_lower) {
    for (int64_t k = 0; k < steps; ++k) {
      _tile_loadd(4, upper + k * kTileIn, task.stride);
      _tile_loadd(6, left + k * kTileBytes, 64);
      _tile_dpbssd(0, 4, 6);
      _tile_loadd(7, right + k * kTileBytes, 64);
      _tile_dpbssd(1, 4, 7);
      _tile_loadd(5, lower + k * kTileIn, task.stride);
      _tile_dpbssd(2, 5, 6);
      _tile_dpbssd(3, 5, 7);
    }
  } else {
    // Even and odd products go to different sums, because a product waits for the last product that
    // was added to the same sum.
    for (int64_t k = 0; k < steps; k += 2) {
      _tile_loadd(4, upper + k * kTileIn, task.stride);
      _tile_loadd(6, left + k * kTileBytes, 64);
      _tile_dpbssd(0, 4, 6);
      _tile_loadd(7, right + k * kTileBytes, 64);
      _tile_dpbssd(1, 4, 7);
      if (k + 1 == steps) break;
      _tile_loadd(5, upper + (k + 1) * kTileIn, task.stride);
      _tile_loadd(6, left + (k + 1) * kTileBytes, 64);
      _tile_dpbssd(2, 5, 6);
      _tile_loadd(7, right + (k + 1) * kTileBytes, 64);
      _tile_dpbssd(3, 5, 7);
    }
  }
  _tile_stored(0, sums[0], 64);
  _tile_stored(1, sums[1], 64);
  _tile_stored(2, sums[2], 64);
  _tile_stored(3, sums[3], 64);
  for (int64_t side = 0; side < 2; ++side) {
    const int8_t* panel = side == 0 ? left : right;
    const int64_t column = (2 * pair + side) * kTileOut;
    if (has_lower) {
      store_tile(task, panel, sums[2 + side], row + kTileRows, column);
    } else {
      for (int64_t i = 0; i < kTileRows * kTileOut; ++i) sums[side][i] += sums[2 + side][i];
    }
    store_tile(task, panel, sums[side], row, column);
  }
}

// Multiplies the pairs of panels first ... last, in groups that fit into the second-level cache.
template <typename T>
void multiply_tiles(const Product<T>& task, int64_t first, int64_t last) {
  constexpr int64_t kGroup = 8;
  _tile_loadconfig(&kTileShapes);
  asm volatile("" ::: "memory"); // keeps earlier writes before the tile loads
  for (int64_t group = first; group < last; group += kGroup) {
    for (int64_t row = 0; row < task.rows; row += 2 * kTileRows) {
      for (int64_t pair = group; pair < std::min(group + kGroup, last); ++pair) {
        multiply_block(task, row, pair);
      }
    }
  }
  _tile_release();
}

} // namespace

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

namespace {

#ifdef LRN_TILES
// Some compilers do not know the names of all these instruction sets in __builtin_cpu_supports.
bool has_instructions() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kTiles = 1u << 24 | 1u << 25; // bits of amx-tile and amx-int8
  constexpr unsigned kAvx512Bf16 = 1u << 5;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & kTiles) == kTiles &&
      __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & kAvx512Bf16);
}

// Linux lets a process use tile registers only after the process has requested them.
bool may_use_tiles() {
  static const bool granted = [] {
    constexpr long kRequest = 0x1023, kTileData = 18;
    return instruction_set() == InstructionSet::kAvx512 && has_instructions() &&
        syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  }();
  return granted;
}
#endif

bool has_int8_tiles(const at::Tensor& tensor) {
  (void)tensor;
#ifdef LRN_TILES
  return may_use_tiles();
#else
  return false;
#endif
}

#ifdef LRN_TILES
// x: N x C. panels: D/16 x (16 C + 64), of the padded weight. bias: D. Returns N x D.
template <typename T>
at::Tensor multiply(
    const at::Tensor& x,
    const at::Tensor& panels,
    int64_t out,
    const std::optional<at::Tensor>& bias) {
  Product<T> task;
  task.rows = x.size(0);
  task.in = (panels.size(1) - kScaleBytes) / kTileOut;
  task.out = out;
  task.x = x.const_data_ptr<T>();
  task.width = x.size(1);
  // If the distance between rows were a power of 2, the rows would compete for the same lines of the
  // first-level cache.
  task.stride = task.in + kTileIn;
  const int64_t padded_rows = round_up(task.rows, kTileRows);
  const at::Tensor quantised = at::empty({padded_rows, task.stride}, x.options().dtype(at::kChar));
  const at::Tensor scales = at::empty({padded_rows}, x.options().dtype(at::kFloat));
  const at::Tensor result = at::empty({task.rows, out}, x.options());
  task.quantised = quantised.mutable_data_ptr<int8_t>();
  task.scales = scales.mutable_data_ptr<float>();
  task.panels = panels.const_data_ptr<int8_t>();
  task.bias = bias ? bias->const_data_ptr<float>() : nullptr;
  task.result = result.mutable_data_ptr<T>();
  // A thread quantises at least 4 * kGrain elements.
  run<Product<T>>(quantise, task, padded_rows, task.in / 4);
  // A thread multiplies by at least 8 * kGrain weights. A pair of panels has 32 * in weights.
  const int64_t pairs = (out + 2 * kTileOut - 1) / (2 * kTileOut);
  run<Product<T>>(multiply_tiles, task, pairs, 4 * task.in);
  return result;
}
#endif

// Returns x W^T + b, N x D. x: N x C, out: D.
at::Tensor int8_linear(
    const at::Tensor& inputs,
    const at::Tensor& panels,
    int64_t out,
    const std::optional<at::Tensor>& bias) {
  TORCH_CHECK(
      has_int8_tiles(panels),
      "int8_linear needs a processor with tile registers for 8-bit integers (Intel AMX)");
  const at::Tensor x = inputs.contiguous(); // N x C
  TORCH_CHECK(
      x.dim() == 2 && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) &&
          x.size(1) > 0 && x.size(1) <= kMaxInputs,
      "x must be N x C of float32 or bfloat16, with C from 1 to ", kMaxInputs);
  TORCH_CHECK(
      panels.dim() == 2 && panels.scalar_type() == at::kChar && panels.is_contiguous() &&
          panels.size(0) * kTileOut == round_up(out, kTileOut) &&
          panels.size(1) == round_up(x.size(1), kTileIn) * kTileOut + kScaleBytes,
      "panels must come from a weight ", out, " x ", x.size(1), ", but they are ", panels.sizes());
  TORCH_CHECK(
      !bias ||
          (bias->scalar_type() == at::kFloat && bias->dim() == 1 && bias->is_contiguous() &&
           bias->size(0) == out),
      "bias must have ", out, " elements of float32");
#ifdef LRN_TILES
  if (x.size(0) > 0) {
    return x.scalar_type() == at::kFloat ? multiply<float>(x, panels, out, bias)
                                         : multiply<c10::BFloat16>(x, panels, out, bias);
  }
#endif
  return at::empty({x.size(0), out}, x.options());
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("has_int8_tiles", has_int8_tiles);
  m.impl("int8_linear", int8_linear);
}
