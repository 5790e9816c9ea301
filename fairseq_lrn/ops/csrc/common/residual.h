// Residual branches. A file includes this one after compile_kernel.h, whose kernel file includes
// add_norm_kernel.h.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/relu.h>

#include <optional>

#include "add_norm.h"
#include "instruction_sets.h"
#include "layer.h"
#include "products.h"
#include "threads.h"

namespace {

struct Options {
  bool tanh; // whether tanh is applied to the cell
  bool pre_norm; // layer norms at the entry of the branches instead of after the sums
  double eps, gate_eps;
};

inline const float* data_or_null(const std::optional<at::Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr<float>() : nullptr;
}

// The layer norm of x + branch, all N x C. Without a branch or without a gain, that part is left out.
inline at::Tensor add_norm(
    const at::Tensor& x,
    const std::optional<at::Tensor>& branch,
    const std::optional<at::Tensor>& gain,
    const std::optional<at::Tensor>& shift,
    double eps) {
  const at::Tensor out = at::empty_like(x);
  AddNorm task;
  task.width = x.size(1);
  task.eps = static_cast<float>(eps);
  task.x = x.const_data_ptr<float>();
  task.branch = data_or_null(branch);
  task.gain = data_or_null(gain);
  task.shift = data_or_null(shift);
  task.out = out.mutable_data_ptr<float>();
  run(LRN_DISPATCH(add_norm), task, x.size(0), x.size(1));
  return out;
}

// The residual connection around a branch, with its layer norm before or after the branch.
struct Residual {
  const std::optional<at::Tensor>& gain;
  const std::optional<at::Tensor>& shift;
  const Options& options;

  at::Tensor branch_input(const at::Tensor& x) const {
    return options.pre_norm ? add_norm(x, std::nullopt, gain, shift, options.eps) : x;
  }
  at::Tensor add(const at::Tensor& x, const at::Tensor& branch) const {
    return options.pre_norm ? add_norm(x, branch, std::nullopt, std::nullopt, options.eps)
                            : add_norm(x, branch, gain, shift, options.eps);
  }
};

// The feed-forward block of a layer, N x C, from its input, N x C; x itself if there is no block.
inline at::Tensor feed_forward(const at::Tensor& x, const Layer& layer, const Options& options) {
  if (!layer.has(Part::kFfn)) return x;
  const Residual ffn{layer.ffn_norm_gain, layer.ffn_norm_shift, options};
  const at::Tensor inner =
      at::relu(affine(ffn.branch_input(x), *layer.ffn_in_weight, layer.ffn_in_bias));
  return ffn.add(x, affine(inner, *layer.ffn_out_weight, layer.ffn_out_bias));
}

} // namespace
