// CPU kernel of the operator top_log_probs, whose schema is in fairseq_lrn/ops/top_log_probs.py.

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

#include "../common/instruction_sets.h"
#include "../common/threads.h"

namespace {

// The k most probable tokens of each row. T is the type of the logits, and S the type of the
// arithmetic.
template <typename T, typename S>
struct TopK {
  int64_t count, vocabulary, k;
  const T* logits; // count x vocabulary
  S* log_p; // count x k
  int64_t* tokens; // count x k
};

} // namespace

#define LRN_KERNEL_FILE "../top_log_probs/kernel.h"
#include "../common/compile_kernel.h"

namespace {

// Log-probabilities and tokens, N x k, from logits N x V.
std::tuple<at::Tensor, at::Tensor> top_log_probs(const at::Tensor& logits, int64_t k) {
  TORCH_CHECK(
      logits.dim() == 2 && k >= 1 && k <= logits.size(1),
      "logits must be N x V and k from 1 to V, not ", logits.sizes(), " and ", k);
  const at::Tensor rows = logits.contiguous(); // N x V
  const auto type = at::toOpMathType(rows.scalar_type());
  at::Tensor log_p = at::empty({rows.size(0), k}, rows.options().dtype(type));
  at::Tensor tokens = at::empty({rows.size(0), k}, rows.options().dtype(at::kLong));
  if (log_p.numel() == 0) return {log_p, tokens};
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, rows.scalar_type(), "top_log_probs", [&] {
        using math_t = at::opmath_type<scalar_t>;
        TopK<scalar_t, math_t> top;
        top.count = rows.size(0);
        top.vocabulary = rows.size(1);
        top.k = k;
        top.logits = rows.const_data_ptr<scalar_t>();
        top.log_p = log_p.mutable_data_ptr<math_t>();
        top.tokens = tokens.mutable_data_ptr<int64_t>();
        run(LRN_DISPATCH(top_k<scalar_t, math_t>), top, top.count, top.vocabulary);
      });
  return {log_p, tokens};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("top_log_probs", top_log_probs);
}
