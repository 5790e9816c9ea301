// CPU kernels of the operators int8_linear and int8_kernel, whose schemas are in
// fairseq_lrn/ops/int8_linear.py. The kernels differ in the instructions that multiply 8-bit integers.
// These are not the instruction sets of compile_kernel.h, so this file chooses among them itself.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <optional>
#include <string>

#include "../common/threads.h"
#include "product.h"
#include "tiles.h"
#include "vector_kernels.h"

namespace {

// The kernels, from none to the fastest.
enum class Int8Kernel { kNone, kAvx2, kAvxVnni, kAvx512Vnni, kAmx };

Int8Kernel int8_kernel() {
  static const Int8Kernel chosen = [] {
#ifdef LRN_TILES
    if (may_use_tiles()) return Int8Kernel::kAmx;
#endif
#if defined(__x86_64__)
    if (has_avx512_vnni()) return Int8Kernel::kAvx512Vnni;
#ifdef LRN_AVX_VNNI
    if (has_avx_vnni()) return Int8Kernel::kAvxVnni;
#endif
    if (instruction_set() != InstructionSet::kPortable) return Int8Kernel::kAvx2;
#endif
    return Int8Kernel::kNone;
  }();
  return chosen;
}

std::string int8_kernel_name() {
  switch (int8_kernel()) {
    case Int8Kernel::kAmx: return "AMX";
    case Int8Kernel::kAvx512Vnni: return "AVX-512 VNNI";
    case Int8Kernel::kAvxVnni: return "AVX-VNNI";
    case Int8Kernel::kAvx2: return "AVX2";
    default: return "";
  }
}

#if defined(__x86_64__)
// The two steps of a product: the first works on rows of x, the second on panels.
template <typename T>
void compute(
    const Product<T>& task,
    int64_t padded_rows,
    Kernel<Product<T>> quantise,
    Kernel<Product<T>> multiply,
    int64_t parts,
    int64_t part_elements) {
  // A thread quantises at least 4 * kGrain elements.
  run<Product<T>>(quantise, task, padded_rows, task.in / 4);
  run<Product<T>>(multiply, task, parts, part_elements);
}

template <typename T>
void compute(const Product<T>& task, int64_t padded_rows) {
  const int64_t panels = (task.out + kTileOut - 1) / kTileOut;
  // A thread has at least 8 * kGrain products of vectors, or reads as many weights with one row.
  const int64_t panel_elements = 2 * task.rows * task.in;
  switch (int8_kernel()) {
#ifdef LRN_TILES
    case Int8Kernel::kAmx:
      // A thread multiplies by at least 8 * kGrain weights. A pair of panels has 32 * in weights.
      return compute<T>(
          task, padded_rows, int8_avx512_vnni::quantise<false, T>, multiply_tiles<T>,
          (panels + 1) / 2, 4 * task.in);
#endif
    case Int8Kernel::kAvx512Vnni:
      return compute<T>(
          task, padded_rows, int8_avx512_vnni::quantise<true, T>,
          int8_avx512_vnni::multiply_panels<T>, panels, panel_elements);
#ifdef LRN_AVX_VNNI
    case Int8Kernel::kAvxVnni:
      return compute<T>(
          task, padded_rows, int8_avx_vnni::quantise<true, T>, int8_avx_vnni::multiply_panels<T>,
          panels, panel_elements);
#endif
    default:
      return compute<T>(
          task, padded_rows, int8_avx2::quantise<false, T>, int8_avx2::multiply_panels<T>, panels,
          panel_elements);
  }
}

// x: N x C. panels: D/16 x (16 C + kTailBytes), of the padded weight. bias: D. Returns N x D.
template <typename T>
at::Tensor multiply(
    const at::Tensor& x,
    const at::Tensor& panels,
    int64_t out,
    const std::optional<at::Tensor>& bias) {
  Product<T> task;
  task.rows = x.size(0);
  task.in = (panels.size(1) - kTailBytes) / kTileOut;
  task.out = out;
  task.x = x.const_data_ptr<T>();
  task.width = x.size(1);
  // If the distance between rows were a power of 2, the rows would compete for the same lines of the
  // first-level cache.
  task.stride = task.in + kTileIn;
  // Only tiles read the padding of the rows.
  const int64_t padded_rows = (task.rows + kTileRows - 1) / kTileRows * kTileRows;
  const at::Tensor quantised = at::empty({padded_rows, task.stride}, x.options().dtype(at::kChar));
  const at::Tensor scales = at::empty({padded_rows}, x.options().dtype(at::kFloat));
  const at::Tensor result = at::empty({task.rows, out}, x.options());
  task.quantised = quantised.mutable_data_ptr<int8_t>();
  task.scales = scales.mutable_data_ptr<float>();
  task.panels = panels.const_data_ptr<int8_t>();
  task.bias = bias ? bias->const_data_ptr<float>() : nullptr;
  task.result = result.mutable_data_ptr<T>();
  compute(task, int8_kernel() == Int8Kernel::kAmx ? padded_rows : task.rows);
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
      int8_kernel() != Int8Kernel::kNone,
      "int8_linear needs a processor with AVX2, and ATEN_CPU_CAPABILITY must not exclude it");
  const at::Tensor x = inputs.contiguous(); // N x C
  TORCH_CHECK(
      x.dim() == 2 && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) &&
          x.size(1) > 0 && x.size(1) <= kMaxInputs,
      "x must be N x C of float32 or bfloat16, with C from 1 to ", kMaxInputs);
  const int64_t padded_in = (x.size(1) + kTileIn - 1) / kTileIn * kTileIn;
  TORCH_CHECK(
      panels.dim() == 2 && panels.scalar_type() == at::kChar && panels.is_contiguous() &&
          panels.size(0) == (out + kTileOut - 1) / kTileOut &&
          panels.size(1) == padded_in * kTileOut + kTailBytes,
      "panels must come from a weight ", out, " x ", x.size(1), ", but they are ", panels.sizes());
  TORCH_CHECK(
      !bias ||
          (bias->scalar_type() == at::kFloat && bias->dim() == 1 && bias->is_contiguous() &&
           bias->size(0) == out),
      "bias must have ", out, " elements of float32");
#if defined(__x86_64__)
  if (x.size(0) > 0) {
    return x.scalar_type() == at::kFloat ? multiply<float>(x, panels, out, bias)
                                         : multiply<c10::BFloat16>(x, panels, out, bias);
  }
#endif
  return at::empty({x.size(0), out}, x.options());
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("int8_linear", int8_linear);
}

// This operator has no tensor argument, so it belongs to no device.
TORCH_LIBRARY_IMPL(fairseq_lrn, CompositeExplicitAutograd, m) {
  m.impl("int8_kernel", int8_kernel_name);
}
