// CPU kernel of top_log_probs, which fairseq_lrn/ops/top_log_probs.py defines.

#include <ATen/core/Tensor.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <cmath>
#include <functional>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "common.h"

namespace {

// All that a kernel needs; T is the type of the logits, S that of the arithmetic.
template <typename T, typename S>
struct Top {
  int64_t count, symbols, k;
  const T* logits; // count x symbols
  S* log_p; // count x k
  int64_t* found; // count x k
};

} // namespace

#define LRN_KERNEL "top_log_probs_kernel.h"
#include "instruction_sets.h"

namespace {

template <typename T, typename S>
void run(const Top<T, S>& top) {
  void (*kernel)(const Top<T, S>&, int64_t, int64_t) = portable::top<T, S>;
#if defined(__x86_64__)
  if (instruction_set() == InstructionSet::kAvx2) kernel = avx2::top<T, S>;
  if (instruction_set() == InstructionSet::kAvx512) kernel = avx512::top<T, S>;
#endif
  const int64_t grain = std::max<int64_t>(1, kGrain / top.symbols);
  in_threads(top.count, grain, [&](int64_t first, int64_t last) { kernel(top, first, last); });
}

std::tuple<at::Tensor, at::Tensor> top_log_probs(const at::Tensor& any_logits, int64_t k) {
  TORCH_CHECK(
      any_logits.dim() == 2 && k >= 1 && k <= any_logits.size(1),
      "logits must be N x V and k from 1 to V, not ", any_logits.sizes(), " and ", k);
  const at::Tensor logits = any_logits.contiguous();
  const auto type = at::toOpMathType(logits.scalar_type());
  at::Tensor log_p = at::empty({logits.size(0), k}, logits.options().dtype(type));
  at::Tensor found = at::empty({logits.size(0), k}, logits.options().dtype(at::kLong));
  if (log_p.numel() == 0) return {log_p, found};
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, logits.scalar_type(), "top_log_probs", [&] {
        using math_t = at::opmath_type<scalar_t>;
        Top<scalar_t, math_t> top;
        top.count = logits.size(0);
        top.symbols = logits.size(1);
        top.k = k;
        top.logits = logits.const_data_ptr<scalar_t>();
        top.log_p = log_p.mutable_data_ptr<math_t>();
        top.found = found.mutable_data_ptr<int64_t>();
        run(top);
      });
  return {log_p, found};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("top_log_probs", top_log_probs);
}
