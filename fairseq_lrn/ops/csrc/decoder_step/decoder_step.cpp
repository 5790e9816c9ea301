// CPU kernel of the operator lrn_decoder_step, whose schema is in fairseq_lrn/ops/decoder_step.py.
//
// Shapes: a step has N = W*B rows, and row w * B + b is hypothesis w of sentence b. C is the width of
// the residual stream, H the size of the state, and S the length of the source.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "../common/add_norm.h"
#include "../common/instruction_sets.h"
#include "../common/layer.h"
#include "../common/products.h"
#include "../common/threads.h"

namespace {

// The gates and the next state of each row.
struct Gates {
  int64_t hidden;
  float eps;
  const float* projected; // N x (3 or 4) * hidden
  const float* gain; // (3 or 4) * hidden, gain of the layer norm; unused without a norm
  const float* shift; // (3 or 4) * hidden, shift of the layer norm, or bias without a norm
  const float* state; // N x hidden
  float* next; // N x hidden
};

// Attention of W hypotheses for each of B sentences.
struct Attention {
  int64_t hypotheses, sentences, length, width, heads;
  float scale, masked_score;
  const float* query; // W x B x width
  const float* keys; // S x B x width
  const float* values; // S x B x width
  const bool* padding; // B x S, true at padding; or null
  float* context; // W x B x width
};

} // namespace

#define LRN_KERNEL_FILE "../decoder_step/kernel.h"
#include "../common/compile_kernel.h"
#include "../common/residual.h"

namespace {

struct AttentionOptions {
  int64_t heads;
  double masked_score; // added to the attention scores of padding
};

// The next state, N x H, from the projection of the gates, N x (3H or 4H), and the state, N x H.
at::Tensor next_state(
    const at::Tensor& projected,
    const at::Tensor& state,
    const Layer& layer,
    const Options& options) {
  const int64_t hidden = state.size(1), width = projected.size(1);
  const bool has_norm = layer.gates_norm_gain.has_value();
  const std::optional<at::Tensor>& shift = has_norm ? layer.gates_norm_shift : layer.gates_bias;
  const at::Tensor next = at::empty_like(state);
  const at::Tensor zeros = shift ? at::Tensor() : at::zeros({width}, state.options());
  Gates task;
  task.hidden = hidden;
  task.eps = static_cast<float>(options.gate_eps);
  task.projected = projected.const_data_ptr<float>();
  task.gain = data_or_null(layer.gates_norm_gain);
  task.shift = (shift ? *shift : zeros).const_data_ptr<float>();
  task.state = state.const_data_ptr<float>();
  task.next = next.mutable_data_ptr<float>();
  const Kernel<Gates> kernel = with_constants(
      [](auto norm, auto tanh, auto output_gate) {
        return LRN_DISPATCH(gates<norm, tanh, output_gate>);
      },
      has_norm,
      options.tanh,
      width == 4 * hidden);
  run(kernel, task, state.size(0), width);
  return next;
}

// The context, N x C, of the query, N x C, from keys and values, S x B x C. padding: B x S.
at::Tensor attention(
    const at::Tensor& query,
    const at::Tensor& keys,
    const at::Tensor& values,
    const std::optional<at::Tensor>& padding,
    const AttentionOptions& options) {
  const at::Tensor context = at::empty_like(query);
  Attention task;
  task.length = keys.size(0);
  task.sentences = keys.size(1);
  task.width = keys.size(2);
  task.hypotheses = query.size(0) / task.sentences;
  task.heads = options.heads;
  const int64_t head_size = task.width / task.heads;
  task.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_size)));
  task.masked_score = static_cast<float>(options.masked_score);
  task.query = query.const_data_ptr<float>();
  task.keys = keys.const_data_ptr<float>();
  task.values = values.const_data_ptr<float>();
  task.padding = padding ? padding->const_data_ptr<bool>() : nullptr;
  task.context = context.mutable_data_ptr<float>();
  const int64_t head_elements = task.hypotheses * task.length * head_size;
  run(LRN_DISPATCH(attention), task, task.sentences * task.heads, head_elements);
  return context;
}

// The recurrent branch of a layer: its output, N x C, and the next state, N x H, from x, N x C, and the
// state, N x H.
std::tuple<at::Tensor, at::Tensor> recurrence(
    const at::Tensor& x, const at::Tensor& state, const Layer& layer, const Options& options) {
  const Residual residual{layer.residual_norm_gain, layer.residual_norm_shift, options};
  // next_state adds the bias of the gates.
  const at::Tensor projected =
      affine(residual.branch_input(x), *layer.gates_weight, std::nullopt); // N x (3H or 4H)
  const at::Tensor next = next_state(projected, state, layer, options);
  return {residual.add(x, affine(next, *layer.out_weight, layer.out_bias)), next};
}

// The attention branch of a layer: its output, N x C, from x, N x C.
at::Tensor source_attention(
    const at::Tensor& x,
    const at::Tensor& keys,
    const at::Tensor& values,
    const std::optional<at::Tensor>& padding,
    const Layer& layer,
    const Options& options,
    const AttentionOptions& attention_options) {
  const Residual residual{layer.attention_norm_gain, layer.attention_norm_shift, options};
  const at::Tensor query =
      affine(residual.branch_input(x), *layer.query_weight, layer.query_bias);
  const at::Tensor context = attention(query, keys, values, padding, attention_options);
  return residual.add(x, affine(context, *layer.attention_out_weight, layer.attention_out_bias));
}

// Features, N x C, and the next state of each layer, N x H, from the embeddings x, N x C.
//   states: N x H for each layer. memory: keys and values, S x B x C each, of each layer that attends.
//   padding_mask: B x S, true at padding. parameters: see layer.h.
std::tuple<at::Tensor, std::vector<at::Tensor>> lrn_decoder_step(
    const at::Tensor& embeddings,
    at::TensorList states,
    at::TensorList memory,
    const std::optional<at::Tensor>& padding_mask,
    const c10::List<std::optional<at::Tensor>>& parameters,
    int64_t heads,
    std::string_view activation,
    bool normalize_before,
    double eps,
    double gate_eps,
    double masked_score) {
  const int64_t layers = static_cast<int64_t>(states.size());
  TORCH_CHECK(
      static_cast<int64_t>(parameters.size()) == kParameterCount * layers,
      "lrn_decoder_step needs ", kParameterCount, " parameters for each of ", layers,
      " layers, not ", parameters.size());
  TORCH_CHECK(
      activation == "tanh" || activation == "identity",
      "activation must be tanh or identity, not ", activation);
  TORCH_CHECK(is_contiguous_float(embeddings, 2), "x must be N x C, contiguous and float32");
  const Options options{activation == "tanh", normalize_before, eps, gate_eps};
  const AttentionOptions attention_options{heads, masked_score};
  std::optional<at::Tensor> padding;
  if (padding_mask) padding = padding_mask->contiguous(); // B x S
  at::Tensor x = embeddings;
  std::vector<at::Tensor> next_states;
  next_states.reserve(layers);
  size_t used = 0; // entries of the memory
  for (int64_t index = 0; index < layers; ++index) {
    const at::Tensor& state = states[index];
    TORCH_CHECK(
        is_contiguous_float(state, 2) && state.size(0) == x.size(0),
        "states must be N x H in float32, with a row for each row of x");
    const Layer layer(parameters, index);
    TORCH_CHECK(!layer.has(Part::kBackward), "a decoder's layer has one direction");
    layer.check(x.size(1), state.size(1));
    at::Tensor next;
    std::tie(x, next) = recurrence(x, state, layer, options);
    next_states.push_back(next);
    if (layer.has(Part::kAttention)) {
      TORCH_CHECK(
          used + 2 <= memory.size(),
          "lrn_decoder_step needs two memories for each layer with attention, not ", memory.size(),
          " in all");
      const at::Tensor keys = memory[used++].contiguous(); // S x B x C
      const at::Tensor values = memory[used++].contiguous(); // S x B x C
      TORCH_CHECK(
          is_contiguous_float(keys, 3) && is_contiguous_float(values, 3) &&
              keys.sizes() == values.sizes() && keys.size(2) == x.size(1) && heads > 0 &&
              x.size(1) % heads == 0 && keys.size(1) > 0 && x.size(0) % keys.size(1) == 0,
          "keys and values must be S x B x C in float32, with N a multiple of B and C a multiple of "
          "the number of heads");
      TORCH_CHECK(
          !padding ||
              (padding->scalar_type() == at::kBool && padding->dim() == 2 &&
               padding->size(0) == keys.size(1) && padding->size(1) == keys.size(0)),
          "padding_mask must be boolean and B x S");
      x = source_attention(x, keys, values, padding, layer, options, attention_options);
    }
    x = feed_forward(x, layer, options);
  }
  TORCH_CHECK(
      used == memory.size(), "lrn_decoder_step was given ", memory.size(), " memories, but its layers "
      "read ", used);
  return {x, next_states};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("lrn_decoder_step", lrn_decoder_step);
}

// torch calls this kernel if a weight is in oneDNN's layout.
TORCH_LIBRARY_IMPL(fairseq_lrn, MkldnnCPU, m) {
  m.impl("lrn_decoder_step", lrn_decoder_step);
}

// These operators have no tensor argument, so they belong to no device.
TORCH_LIBRARY_IMPL(fairseq_lrn, CompositeExplicitAutograd, m) {
  m.impl("layer_parameter_names", parameter_names);
  m.impl("missing_layer_parameter_names", missing_parameter_names);
}
