// The kernel of int8_linear for the tile registers of Intel AMX: one instruction multiplies a tile of
// 16 x 64 by a tile of 64 x 16 8-bit integers.

#pragma once

#if defined(__x86_64__) && defined(__linux__) && __has_include(<amxint8intrin.h>) && \
    !defined(LRN_NO_TILES)
#define LRN_TILES
#include <c10/util/BFloat16.h>
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "../common/instruction_sets.h"
#include "product.h"

LRN_PUSH_TARGET("amx-tile,amx-int8,avx512bf16," LRN_AVX512)

namespace {

inline void store_lanes(float* to, __mmask16 lanes, __m512 value) {
  _mm512_mask_storeu_ps(to, lanes, value);
}

inline void store_lanes(c10::BFloat16* to, __mmask16 lanes, __m512 value) {
  _mm256_mask_storeu_epi16(to, lanes, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
}

inline __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? 0xffff : static_cast<__mmask16>((1u << std::max<int64_t>(0, count)) - 1);
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
    const Product<T>& task, const int32_t* sums, int64_t row, int64_t column) {
  if (column >= task.out) return;
  const __mmask16 lanes = first_lanes(task.out - column);
  const __m512 scale = _mm512_loadu_ps(task.panel_scales(column / kTileOut));
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
  const int8_t* left = task.panel(2 * pair);
  // A last panel without a partner is multiplied twice.
  const int8_t* right = 2 * pair + 1 < panels ? task.panel(2 * pair + 1) : left;
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
    const int64_t column = (2 * pair + side) * kTileOut;
    if (has_lower) {
      store_tile(task, sums[2 + side], row + kTileRows, column);
    } else {
      for (int64_t i = 0; i < kTileRows * kTileOut; ++i) sums[side][i] += sums[2 + side][i];
    }
    store_tile(task, sums[side], row, column);
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

LRN_POP_TARGET

namespace {

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

} // namespace

#endif
