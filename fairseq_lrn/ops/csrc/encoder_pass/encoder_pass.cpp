// CPU kernel of the operator lrn_encoder_pass, whose schema is in fairseq_lrn/ops/encoder_pass.py.
//
// Shapes: T is the length, B the number of sentences, N = T*B, C the width of the residual stream, H the
// size of the state of each of D directions, one or two.

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "../common/add_norm.h"

#define LRN_KERNEL_FILE "../encoder_pass/kernel.h"
#include "../common/compile_kernel.h"
#include "../common/residual.h"

namespace {

// The projection of the gates of one direction, N x (3H or 4H), without its bias, which the scan adds.
at::Tensor project(
    const at::Tensor& x,
    const std::optional<at::Tensor>& weight,
    const std::optional<at::Tensor>& gain,
    const std::optional<at::Tensor>& shift,
    const Options& options) {
  const at::Tensor projected = affine(x, *weight, std::nullopt);
  if (!gain) return projected;
  const at::Tensor zeros = shift ? at::Tensor() : at::zeros(gain->sizes(), gain->options());
  return add_norm(projected, std::nullopt, gain, shift ? *shift : zeros, options.gate_eps);
}

// The outputs of all directions, T x B x (D*H), of a layer with the input x, T x B x C.
at::Tensor scan(
    const at::Tensor& x,
    const at::Tensor& initial,
    const std::optional<at::Tensor>& padding,
    const Layer& layer,
    const Options& options) {
  const int64_t time = x.size(0), batch = x.size(1);
  const Residual residual{layer.residual_norm_gain, layer.residual_norm_shift, options};
  const at::Tensor input = residual.branch_input(x.view({time * batch, x.size(2)})); // N x C
  std::vector<at::Tensor> projections, biases;
  const auto add_direction = [&](const auto& weight, const auto& bias, const auto& gain,
                                 const auto& shift) {
    // N x (3H or 4H) to T x B x (3H or 4H)
    projections.push_back(project(input, weight, gain, shift, options).view({time, batch, -1}));
    if (bias) biases.push_back(*bias);
  };
  add_direction(
      layer.gates_weight, layer.gates_bias, layer.gates_norm_gain, layer.gates_norm_shift);
  if (layer.has(Part::kBackward)) {
    add_direction(
        layer.backward_gates_weight, layer.backward_gates_bias, layer.backward_gates_norm_gain,
        layer.backward_gates_norm_shift);
  }
  using Scan = std::tuple<at::Tensor, at::Tensor>(
      at::TensorList, const at::Tensor&, const std::optional<at::Tensor>&, at::TensorList,
      std::string_view, bool);
  static const auto lrn_scan = c10::Dispatcher::singleton()
                                   .findSchemaOrThrow("fairseq_lrn::lrn_scan", "")
                                   .typed<Scan>();
  return std::get<0>(lrn_scan.call(
      projections, initial, padding, biases, options.tanh ? "tanh" : "identity", false));
}

// The output of all layers, T x B x C, and the final states of the last one, B x (D*H), forward then
// backward, from the embeddings x, T x B x C, and states of zeros.
//   padding_mask: T x B, true at padding. parameters: see layer.h.
std::tuple<at::Tensor, at::Tensor> lrn_encoder_pass(
    const at::Tensor& embeddings,
    const std::optional<at::Tensor>& padding_mask,
    const c10::List<std::optional<at::Tensor>>& parameters,
    int64_t hidden,
    std::string_view activation,
    bool normalize_before,
    double eps,
    double gate_eps) {
  const int64_t layers = static_cast<int64_t>(parameters.size()) / kParameterCount;
  TORCH_CHECK(
      layers > 0 && static_cast<int64_t>(parameters.size()) == kParameterCount * layers,
      "lrn_encoder_pass needs ", kParameterCount, " parameters for each layer, not ",
      parameters.size(), " in all");
  TORCH_CHECK(
      activation == "tanh" || activation == "identity",
      "activation must be tanh or identity, not ", activation);
  TORCH_CHECK(
      is_contiguous_float(embeddings, 3) && embeddings.numel() > 0,
      "x must be T x B x C, contiguous, float32 and not empty");
  const int64_t time = embeddings.size(0), batch = embeddings.size(1), width = embeddings.size(2);
  const Options options{activation == "tanh", normalize_before, eps, gate_eps};
  at::Tensor x = embeddings;
  at::Tensor h; // T x B x (D*H)
  for (int64_t index = 0; index < layers; ++index) {
    const Layer layer(parameters, index);
    TORCH_CHECK(!layer.has(Part::kAttention), "an encoder's layer attends to no source");
    layer.check(width, hidden);
    const int64_t directions = layer.has(Part::kBackward) ? 2 : 1;
    h = scan(
        x, at::zeros({directions, batch, hidden}, x.options()), padding_mask, layer, options);
    const Residual residual{layer.residual_norm_gain, layer.residual_norm_shift, options};
    const at::Tensor branch =
        affine(h.view({time * batch, directions * hidden}), *layer.out_weight, layer.out_bias);
    x = feed_forward(residual.add(x.view({time * batch, width}), branch), layer, options)
            .view({time, batch, width}); // N x C to T x B x C
  }
  // The backward direction ends at the first step.
  at::Tensor state = h.select(0, time - 1).narrow(1, 0, hidden); // B x H
  if (h.size(2) > hidden) {
    state = at::cat({state, h.select(0, 0).narrow(1, hidden, hidden)}, 1); // B x 2H
  }
  return {x, state};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("lrn_encoder_pass", lrn_encoder_pass);
}

// torch calls this kernel if a weight is in oneDNN's layout.
TORCH_LIBRARY_IMPL(fairseq_lrn, MkldnnCPU, m) {
  m.impl("lrn_encoder_pass", lrn_encoder_pass);
}
