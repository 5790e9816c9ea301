// Compiles the file LRN_KERNEL, which the includer defines, for several instruction sets.

namespace {

namespace portable {
#define LRN_VECTOR_BYTES 16
#include "vector.h"
#include LRN_KERNEL
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
#include "vector.h"
#include LRN_KERNEL
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
#include "vector.h"
#include LRN_KERNEL
#undef LRN_VECTOR_BYTES
} // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

} // namespace
