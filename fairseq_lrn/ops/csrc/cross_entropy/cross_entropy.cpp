// CPU kernel of the operator softmax_gradient_, whose schema is in fairseq_lrn/ops/cross_entropy.py.

#include <ATen/core/Tensor.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <tuple>

#include "../common/instruction_sets.h"
#include "../common/threads.h"

namespace {

// Rows of logits from one pass, or from two passes over the same rows. T is the type of the logits,
// and S the type of the arithmetic. All rows of the second pass follow the rows of the first pass.
template <typename T, typename S>
struct Rows {
  int64_t count, vocabulary;
  S right; // subtracted from the target's probability in the gradient of cross entropy
  S weight; // weight of the gradient of both divergences
  bool gradient; // whether to replace the logits by the gradient
  T* logits; // passes * count x vocabulary
  const int64_t* target; // count
  S* nll; // passes * count
  S* target_logits; // passes * count
  S* divergence; // count
};

} // namespace

#define LRN_KERNEL_FILE "../cross_entropy/kernel.h"
#include "../common/compile_kernel.h"

namespace {

// logits: passes*N x V, targets: N. The schema's comment says what is computed.
std::tuple<at::Tensor, at::Tensor, at::Tensor> softmax_gradient_(
    at::Tensor& logits,
    const at::Tensor& targets,
    double right,
    double weight,
    bool pair,
    bool gradient) {
  const int64_t passes = pair ? 2 : 1;
  TORCH_CHECK(
      logits.dim() == 2 && logits.is_contiguous() && targets.dim() == 1 &&
          targets.scalar_type() == at::kLong && logits.size(0) == passes * targets.size(0),
      "logits must be contiguous and ", passes, "*N x V, and target must have N integers, not ",
      logits.sizes(), " and ", targets.sizes());
  const at::Tensor target = targets.contiguous(); // N
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
        rows.vocabulary = logits.size(1);
        rows.right = static_cast<math_t>(right);
        rows.weight = static_cast<math_t>(weight);
        rows.gradient = gradient;
        rows.logits = logits.mutable_data_ptr<scalar_t>();
        rows.target = target.const_data_ptr<int64_t>();
        rows.nll = nll.mutable_data_ptr<math_t>();
        rows.target_logits = target_logits.mutable_data_ptr<math_t>();
        rows.divergence = divergence.mutable_data_ptr<math_t>();
        const Kernel<Rows<scalar_t, math_t>> kernel = pair
            ? LRN_DISPATCH(two_passes<scalar_t, math_t>)
            : LRN_DISPATCH(one_pass<scalar_t, math_t>);
        run(kernel, rows, count, rows.vocabulary);
      });
  return {nll, target_logits, divergence};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("softmax_gradient_", softmax_gradient_);
}
