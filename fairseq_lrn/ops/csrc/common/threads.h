// What the CPU kernels share: constants, the choice among instruction sets, torch's threads.

#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/Version.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>

#define LRN_INLINE inline __attribute__((always_inline))
#define LRN_INLINE_LAMBDA __attribute__((always_inline))

namespace {

// Below this many elements, waking another thread costs more than it brings.
constexpr int64_t kGrain = 16384;

template <typename S>
struct Constants;

template <>
struct Constants<float> {
  static constexpr int mantissa = 23;
  static constexpr int terms = 7;
  static constexpr float limit = 43.0f;
  static constexpr float round = 12582912.0f; // 1.5 * 2^23
  static constexpr float log2_e = 1.44269504088896341f;
  static constexpr float ln2_high = 0.693359375f;
  static constexpr float ln2_low = -2.12194440054690583e-4f;
  static constexpr float inverse_factorial[] = {
      1.0f, 1.0f, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040};
};

template <>
struct Constants<double> {
  static constexpr int mantissa = 52;
  static constexpr int terms = 13;
  static constexpr double limit = 350.0;
  static constexpr double round = 6755399441055744.0; // 1.5 * 2^52
  static constexpr double log2_e = 1.44269504088896340736;
  static constexpr double ln2_high = 6.93145751953125e-1;
  static constexpr double ln2_low = 1.42860682030941723212e-6;
  static constexpr double inverse_factorial[] = {
      1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
      1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
};

enum class InstructionSet { kPortable, kAvx2, kAvx512 };

// What torch uses: it looks at the processor and at ATEN_CPU_CAPABILITY.
InstructionSet instruction_set() {
  static const InstructionSet chosen = [] {
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return InstructionSet::kAvx512;
    if (capability == "AVX2") return InstructionSet::kAvx2;
    return InstructionSet::kPortable;
  }();
  return chosen;
}

// Runs body(first, last) over 0 ... count in torch's threads, at least grain at a time.
// at::parallel_for would need OpenMP here: compiled into this library it could bring a second
// OpenMP runtime into the process, whose idle threads spin against torch's. TensorIterator forks
// inside torch.
template <typename Body>
void in_threads(int64_t count, int64_t grain, const Body& body) {
  if (count <= grain || at::get_num_threads() == 1) {
    body(0, count);
    return;
  }
  const at::Tensor numbering = at::empty({count}, at::kByte);
  const char* start = static_cast<const char*>(numbering.const_data_ptr());
  at::TensorIterator iterator = at::TensorIteratorConfig().add_const_input(numbering).build();
  iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t size) {
        (void)strides;
        body(data[0] - start, data[0] - start + size);
      },
      grain);
}

} // namespace
