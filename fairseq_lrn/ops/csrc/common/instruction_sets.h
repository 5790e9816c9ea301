// The instruction sets for which kernels are compiled, and the choice among them at run time.
// compile_kernel.h compiles a kernel for each of them.

#pragma once

#include <ATen/Version.h>

#include <string>
#include <type_traits>

// A function that a kernel calls has to be inlined: only then is it compiled for the kernel's
// instruction set.
#define LRN_INLINE inline __attribute__((always_inline))
#define LRN_INLINE_LAMBDA __attribute__((always_inline))

// The functions between LRN_PUSH_TARGET(instructions) and LRN_POP_TARGET are compiled for the given
// instructions, e.g. "avx2,fma".
#define LRN_PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
#define LRN_PUSH_TARGET(instructions) \
  LRN_PRAGMA(clang attribute push(__attribute__((target(instructions))), apply_to = function))
#define LRN_POP_TARGET LRN_PRAGMA(clang attribute pop)
#else
#define LRN_PUSH_TARGET(instructions) \
  LRN_PRAGMA(GCC push_options) LRN_PRAGMA(GCC target(instructions))
#define LRN_POP_TARGET LRN_PRAGMA(GCC pop_options)
#endif

#define LRN_AVX2 "avx2,fma"
#define LRN_AVX512 "avx512f,avx512bw,avx512dq,avx512vl," LRN_AVX2

namespace {

enum class InstructionSet { kPortable, kAvx2, kAvx512 };

// The instruction set that torch uses. torch looks at the processor and at ATEN_CPU_CAPABILITY.
inline InstructionSet instruction_set() {
  static const InstructionSet chosen = [] {
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return InstructionSet::kAvx512;
    if (capability == "AVX2") return InstructionSet::kAvx2;
    return InstructionSet::kPortable;
  }();
  return chosen;
}

// LRN_DISPATCH(function<arguments>) is the function as compiled for the instruction set that torch
// uses. The function comes from a file that compile_kernel.h has compiled. The macro is variadic
// because template arguments contain commas.
#if defined(__x86_64__)
#define LRN_DISPATCH(...)                                               \
  (instruction_set() == InstructionSet::kAvx512     ? avx512::__VA_ARGS__ \
       : instruction_set() == InstructionSet::kAvx2 ? avx2::__VA_ARGS__   \
                                                    : portable::__VA_ARGS__)
#else
#define LRN_DISPATCH(...) (portable::__VA_ARGS__)
#endif

// Calls function(std::bool_constant<flag>()...), so that the function can use run-time flags as
// template arguments.
template <typename... Constants, typename Function>
auto with_constants(const Function& function) {
  return function(Constants()...);
}

template <typename... Constants, typename Function, typename... Flags>
auto with_constants(const Function& function, bool flag, Flags... flags) {
  return flag ? with_constants<Constants..., std::true_type>(function, flags...)
              : with_constants<Constants..., std::false_type>(function, flags...);
}

} // namespace
