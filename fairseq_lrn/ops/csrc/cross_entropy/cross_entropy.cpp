// CPU kernel of softmax_gradient_, which fairseq_lrn/ops/cross_entropy.py defines.

#include <ATen/core/Tensor.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <tuple>

#include "common.h"

namespace {

// All that a kernel needs; T is the type of the logits, S that of the arithmetic. A second pass
// over the same rows, if there is one, lies behind the first.
template <typename T, typename S>
struct Rows {
  int64_t count, symbols;
  S right; // what the target's probability falls short of
  S weight; // of both divergences
  bool gradient;
  T* logits; // passes * count x symbols
  const int64_t* target; // count
  S* nll; // passes * count
  S* target_logits; // passes * count
  S* divergence; // count
};

} // namespace

#define LRN_KERNEL "cross_entropy_kernel.h"
#include "instruction_sets.h"

namespace {

#define LRN_PICK(ISA) (pair ? ISA::two_passes<T, S> : ISA::one_pass<T, S>)

template <typename T, typename S>
void run(const Rows<T, S>& rows, bool pair) {
  void (*kernel)(const Rows<T, S>&, int64_t, int64_t) = LRN_PICK(portable);
#if defined(__x86_64__)
  if (instruction_set() == InstructionSet::kAvx2) kernel = LRN_PICK(avx2);
  if (instruction_set() == InstructionSet::kAvx512) kernel = LRN_PICK(avx512);
#endif
  const int64_t grain = std::max<int64_t>(1, kGrain / rows.symbols);
  in_threads(rows.count, grain, [&](int64_t first, int64_t last) { kernel(rows, first, last); });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> softmax_gradient_(
    at::Tensor& logits,
    const at::Tensor& any_target,
    double right,
    double weight,
    bool pair,
    bool gradient) {
  const int64_t passes = pair ? 2 : 1;
  TORCH_CHECK(
      logits.dim() == 2 && logits.is_contiguous() && any_target.dim() == 1 &&
          any_target.scalar_type() == at::kLong && logits.size(0) == passes * any_target.size(0),
      "logits must be contiguous, ", passes, "*N x V, and target N integers, not ",
      logits.sizes(), " and ", any_target.sizes());
  const at::Tensor target = any_target.contiguous();
  const int64_t count = target.size(0);
  const auto type = at::toOpMathType(logits.scalar_type());
  const auto options = logits.options().dtype(type);
  at::Tensor nll = at::empty({passes * count}, options);
  at::Tensor target_logits = at::empty({passes * count}, options);
  at::Tensor divergence = at::zeros({count}, options);
  if (count == 0) return {nll, target_logits, divergence};
  const auto [least, most] = at::aminmax(target);
  TORCH_CHECK_INDEX(
      least.item<int64_t>() >= 0 && most.item<int64_t>() < logits.size(1),
      "target must be from 0 to V - 1 with V = ", logits.size(1));
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, logits.scalar_type(), "softmax_gradient_", [&] {
        using math_t = at::opmath_type<scalar_t>;
        Rows<scalar_t, math_t> rows;
        rows.count = count;
        rows.symbols = logits.size(1);
        rows.right = static_cast<math_t>(right);
        rows.weight = static_cast<math_t>(weight);
        rows.gradient = gradient;
        rows.logits = logits.mutable_data_ptr<scalar_t>();
        rows.target = target.const_data_ptr<int64_t>();
        rows.nll = nll.mutable_data_ptr<math_t>();
        rows.target_logits = target_logits.mutable_data_ptr<math_t>();
        rows.divergence = divergence.mutable_data_ptr<math_t>();
        run(rows, pair);
      });
  return {nll, target_logits, divergence};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("softmax_gradient_", softmax_gradient_);
}
