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
LRN_PUSH_TARGET(LRN_AVX2)
namespace avx2 {
#define LRN_VECTOR_BYTES 32
#include "vectors.h"
#include LRN_KERNEL_FILE
#undef LRN_VECTOR_BYTES
} // namespace avx2
LRN_POP_TARGET
LRN_PUSH_TARGET(LRN_AVX512)
namespace avx512 {
#define LRN_VECTOR_BYTES 64
#include "vectors.h"
#include LRN_KERNEL_FILE
#undef LRN_VECTOR_BYTES
} // namespace avx512
LRN_POP_TARGET
#endif

} // namespace
