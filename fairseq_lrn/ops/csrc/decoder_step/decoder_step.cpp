// CPU kernel of the operator lrn_decoder_step, whose schema is in fairseq_lrn/ops/decoder_step.py.
//
// Shapes: a step has N = W*B rows, and row w * B + b is hypothesis w of sentence b. C is the width of
// the residual stream, H the size of the state, and S the length of the source.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "../common/instruction_sets.h"
#include "../common/products.h"
#include "../common/threads.h"
#include "parameters.h"

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

// The sum of the residual stream and a branch, followed by a layer norm.
struct AddNorm {
  int64_t width;
  float eps;
  const float* x; // N x width
  const float* branch; // N x width, or null: nothing is added
  const float* gain; // width, or null: there is no layer norm
  const float* shift; // width
  float* out; // N x width
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

namespace {

struct Options {
  int64_t heads;
  bool tanh; // whether tanh is applied to the cell
  bool pre_norm; // layer norms at the entry of the branches instead of after the sums
  double eps, gate_eps;
  double masked_score; // added to the attention scores of padding
};

const float* data_or_null(const std::optional<at::Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr<float>() : nullptr;
}

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

// The layer norm of x + branch, all N x C. Without a branch or without a gain, that part is left out.
at::Tensor add_norm(
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

// The context, N x C, of the query, N x C, from keys and values, S x B x C. padding: B x S.
at::Tensor attention(
    const at::Tensor& query,
    const at::Tensor& keys,
    const at::Tensor& values,
    const std::optional<at::Tensor>& padding,
    const Options& options) {
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

// One layer: its output, N x C, and the next state, N x H, from x, N x C, and the state, N x H.
std::tuple<at::Tensor, at::Tensor> layer_step(
    const at::Tensor& x,
    const at::Tensor& state,
    const at::Tensor& keys,
    const at::Tensor& values,
    const std::optional<at::Tensor>& padding,
    const Layer& layer,
    const Options& options) {
  const Residual recurrence{layer.residual_norm_gain, layer.residual_norm_shift, options};
  // next_state adds the bias of the gates.
  const at::Tensor projected =
      affine(recurrence.branch_input(x), *layer.gates_weight, std::nullopt); // N x (3H or 4H)
  const at::Tensor next = next_state(projected, state, layer, options);
  at::Tensor out = recurrence.add(x, affine(next, *layer.out_weight, layer.out_bias));

  const Residual source{layer.attention_norm_gain, layer.attention_norm_shift, options};
  const at::Tensor query = affine(source.branch_input(out), *layer.query_weight, layer.query_bias);
  const at::Tensor context = attention(query, keys, values, padding, options);
  out = source.add(out, affine(context, *layer.attention_out_weight, layer.attention_out_bias));

  if (layer.has_ffn()) {
    const Residual ffn{layer.ffn_norm_gain, layer.ffn_norm_shift, options};
    const at::Tensor inner =
        at::relu(affine(ffn.branch_input(out), *layer.ffn_in_weight, layer.ffn_in_bias));
    out = ffn.add(out, affine(inner, *layer.ffn_out_weight, layer.ffn_out_bias));
  }
  return {out, next};
}

// Features, N x C, and the next state of each layer, N x H, from the embeddings x, N x C.
//   states: N x H for each layer. memory: keys and values, S x B x C each, for each layer.
//   padding_mask: B x S, true at padding. parameters: see parameters.h.
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
      static_cast<int64_t>(parameters.size()) == kParameterCount * layers &&
          static_cast<int64_t>(memory.size()) == 2 * layers,
      "lrn_decoder_step needs ", kParameterCount, " parameters and two memories for each of ",
      layers, " layers, not ", parameters.size(), " and ", memory.size());
  TORCH_CHECK(
      activation == "tanh" || activation == "identity",
      "activation must be tanh or identity, not ", activation);
  TORCH_CHECK(is_contiguous_float(embeddings, 2), "x must be N x C, contiguous and float32");
  const Options options{
      heads, activation == "tanh", normalize_before, eps, gate_eps, masked_score};
  std::optional<at::Tensor> padding;
  if (padding_mask) padding = padding_mask->contiguous(); // B x S
  at::Tensor x = embeddings;
  std::vector<at::Tensor> next_states;
  next_states.reserve(layers);
  for (int64_t index = 0; index < layers; ++index) {
    const at::Tensor& state = states[index];
    const at::Tensor keys = memory[2 * index].contiguous(); // S x B x C
    const at::Tensor values = memory[2 * index + 1].contiguous(); // S x B x C
    TORCH_CHECK(
        is_contiguous_float(state, 2) && is_contiguous_float(keys, 3) &&
            is_contiguous_float(values, 3) && keys.sizes() == values.sizes() &&
            keys.size(2) == x.size(1) && heads > 0 && x.size(1) % heads == 0 &&
            keys.size(1) > 0 && x.size(0) % keys.size(1) == 0 && state.size(0) == x.size(0),
        "states must be N x H, and keys and values S x B x C with N a multiple of B and C a "
        "multiple of the number of heads, all float32");
    TORCH_CHECK(
        !padding ||
            (padding->scalar_type() == at::kBool && padding->dim() == 2 &&
             padding->size(0) == keys.size(1) && padding->size(1) == keys.size(0)),
        "padding_mask must be boolean and B x S");
    const Layer layer(parameters, index);
    layer.check(x.size(1), state.size(1));
    const auto [out, next] = layer_step(x, state, keys, values, padding, layer, options);
    x = out;
    next_states.push_back(next);
  }
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
  m.impl("decoder_step_parameter_names", parameter_names);
  m.impl("decoder_step_missing_parameter_names", missing_parameter_names);
}
