// Compiles the file LRN_KERNEL_FILE once for each instruction set, in a namespace of that name.
// The includer defines LRN_KERNEL_FILE, a path relative to this directory, and all types and
// headers that the file needs besides vectors.h. LRN_DISPATCH chooses among the results.

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "instruction_sets.h"

namespace {

namespace portable {
#define LRN_VECTOR_BYTES 16
#include "vectors.h"
#include LRN_KERNEL_FILE
#undef LRN_VECTOR_BYTES
} // namespace portable

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
#define LRN_VECTOR_BYTES 32
#include "vectors.h"
#include LRN_KERNEL_FILE
#undef LRN_VECTOR_BYTES
} // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
namespace avx512 {
#define LRN_VECTOR_BYTES 64
#include "vectors.h"
#include LRN_KERNEL_FILE
#undef LRN_VECTOR_BYTES
} // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

} // namespace
