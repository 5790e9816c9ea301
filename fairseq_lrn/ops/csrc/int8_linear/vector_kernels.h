// Compiles vector_kernel.h for instructions that multiply 8-bit integers: those of AVX2, and VNNI with
// vectors of 32 bytes (AVX-VNNI) or 64 bytes (AVX-512 VNNI).

#pragma once

#if defined(__x86_64__)
#include <c10/util/BFloat16.h>
#include <cpuid.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "../common/instruction_sets.h"
#include "product.h"

// Older compilers do not know AVX-VNNI.
#if (defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11)
#define LRN_AVX_VNNI
#endif

namespace {

LRN_PUSH_TARGET(LRN_AVX2)
namespace int8_avx2 {
#define LRN_VECTOR_BYTES 32
#include "../common/vectors.h"
using Sums = VectorOf<float>::bits;
constexpr bool kUnsignedInputs = false;
constexpr int64_t kBlockRows = 4;

// Adds to each sum the product of four inputs and four weights, which are 8-bit integers. Weights and
// inputs are at least -127, so a pair of products fits into 16 bits.
LRN_INLINE void dot(Sums& sums, Sums inputs, Sums weights) {
  const __m256i x = (__m256i)inputs;
  const __m256i pairs =
      _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8((__m256i)weights, x));
  sums += (Sums)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

#include "vector_kernel.h"
#undef LRN_VECTOR_BYTES
} // namespace int8_avx2
LRN_POP_TARGET

#ifdef LRN_AVX_VNNI
LRN_PUSH_TARGET("avxvnni," LRN_AVX2)
namespace int8_avx_vnni {
#define LRN_VECTOR_BYTES 32
#include "../common/vectors.h"
using Sums = VectorOf<float>::bits;
constexpr bool kUnsignedInputs = true;
constexpr int64_t kBlockRows = 4;

// Adds to each sum the product of four unsigned inputs and four weights, which are 8-bit integers.
LRN_INLINE void dot(Sums& sums, Sums inputs, Sums weights) {
  sums = (Sums)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)inputs, (__m256i)weights);
}

#include "vector_kernel.h"
#undef LRN_VECTOR_BYTES
} // namespace int8_avx_vnni
LRN_POP_TARGET
#endif

LRN_PUSH_TARGET("avx512vnni," LRN_AVX512)
namespace int8_avx512_vnni {
#define LRN_VECTOR_BYTES 64
#include "../common/vectors.h"
using Sums = VectorOf<float>::bits;
constexpr bool kUnsignedInputs = true;
constexpr int64_t kBlockRows = 12;

// As for AVX-VNNI.
LRN_INLINE void dot(Sums& sums, Sums inputs, Sums weights) {
  sums = (Sums)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)inputs, (__m512i)weights);
}

#include "vector_kernel.h"
#undef LRN_VECTOR_BYTES
} // namespace int8_avx512_vnni
LRN_POP_TARGET

// Some compilers do not know the names of these instruction sets in __builtin_cpu_supports.
bool has_avx512_vnni() {
  unsigned eax, ebx, ecx, edx;
  return instruction_set() == InstructionSet::kAvx512 &&
      __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ecx & 1u << 11);
}

bool has_avx_vnni() {
  unsigned eax, ebx, ecx, edx;
  return instruction_set() != InstructionSet::kPortable &&
      __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1u << 4);
}

} // namespace

#endif
