// CPU kernel of lrn_decoder_step, which fairseq_lrn/ops/decoder_step.py defines.

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "common.h"

namespace {

// Rows of projections and states to the next states.
struct Gates {
  int64_t hidden;
  float eps;
  const float* projected; // rows x (3 or 4) * hidden
  const float* gain; // of the norm, if there is one
  const float* shift; // of the norm, or the bias
  const float* state; // rows x hidden, as next
  float* next;
};

struct AddNorm {
  int64_t width;
  float eps;
  const float* x; // rows x width, as branch and out
  const float* branch; // or null
  const float* gain; // or null
  const float* shift;
  float* out;
};

// Query and context: hypotheses x sentences x width; keys and values: length x sentences x width.
struct Attention {
  int64_t hypotheses, sentences, length, width, heads;
  float scale, masked_score;
  const float* query;
  const float* keys;
  const float* values;
  const bool* padding; // sentences x length, or null
  float* context;
};

} // namespace

#define LRN_KERNEL "decoder_step_kernel.h"
#include "instruction_sets.h"

namespace {

#if defined(__x86_64__)
#define LRN_CHOOSE(...)                                                  \
  (instruction_set() == InstructionSet::kAvx512     ? avx512::__VA_ARGS__       \
       : instruction_set() == InstructionSet::kAvx2 ? avx2::__VA_ARGS__         \
                                                    : portable::__VA_ARGS__)
#else
#define LRN_CHOOSE(...) (portable::__VA_ARGS__)
#endif

template <typename Task>
void run(
    void (*kernel)(const Task&, int64_t, int64_t), const Task& task, int64_t count, int64_t each) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, each));
  in_threads(count, grain, [&](int64_t first, int64_t last) { kernel(task, first, last); });
}

const float* data(const std::optional<at::Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr<float>() : nullptr;
}

// How many rows are multiplied in bfloat16 for so many: kernel_rows of modules/linear.py, which says
// why.
int64_t kernel_rows(int64_t rows) {
  const int64_t multiple = rows <= 16 ? 1 : rows <= 128 ? 16 : 64;
  return (rows + multiple - 1) / multiple * multiple;
}

// A weight in 8 bits has 16 outputs in each row, see fairseq_lrn/ops/int8_linear.py.
bool is_quantised(const at::Tensor& weight) {
  return weight.scalar_type() == at::kChar;
}

int64_t outputs(const at::Tensor& weight) {
  return is_quantised(weight) ? 16 * weight.size(0) : weight.size(0);
}

// x W^T + b. The weight may have been laid out by oneDNN, perhaps in bfloat16, or be in 8 bits.
at::Tensor multiply(
    const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  if (is_quantised(weight)) {
    using Int8Linear = at::Tensor(
        const at::Tensor&, const at::Tensor&, int64_t, const std::optional<at::Tensor>&);
    static const auto int8_linear = c10::Dispatcher::singleton()
                                        .findSchemaOrThrow("fairseq_lrn::int8_linear", "")
                                        .typed<Int8Linear>();
    return int8_linear.call(x, weight, outputs(weight), bias);
  }
  if (!weight.is_mkldnn()) return at::linear(x, weight, bias);
  using Linear = at::Tensor(
      const at::Tensor&,
      const at::Tensor&,
      const std::optional<at::Tensor>&,
      std::string_view,
      c10::List<std::optional<at::Scalar>>,
      std::optional<std::string_view>);
  static const auto packed =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Linear>();
  static const c10::List<std::optional<at::Scalar>> none;
  if (weight.scalar_type() == x.scalar_type()) return packed.call(x, weight, bias, "none", none, "");
  const auto type = weight.scalar_type();
  std::optional<at::Tensor> narrow;
  if (bias) narrow = bias->to(type);
  const int64_t rows = x.size(0);
  const at::Tensor padded = at::empty({kernel_rows(rows), x.size(1)}, x.options().dtype(type));
  padded.narrow(0, 0, rows).copy_(x);
  const at::Tensor product = packed.call(padded, weight, narrow, "none", none, "");
  return product.narrow(0, 0, rows).to(x.scalar_type());
}

at::Tensor gates(
    const at::Tensor& projected,
    const at::Tensor& state,
    const std::optional<at::Tensor>& gain,
    const std::optional<at::Tensor>& shift,
    double eps,
    bool tanh) {
  const int64_t hidden = state.size(1), width = projected.size(1);
  const at::Tensor next = at::empty_like(state);
  const at::Tensor zeros = shift ? at::Tensor() : at::zeros({width}, state.options());
  Gates task;
  task.hidden = hidden;
  task.eps = static_cast<float>(eps);
  task.projected = projected.const_data_ptr<float>();
  task.gain = data(gain);
  task.shift = (shift ? *shift : zeros).const_data_ptr<float>();
  task.state = state.const_data_ptr<float>();
  task.next = next.mutable_data_ptr<float>();
  const bool output_gate = width == 4 * hidden;
#define LRN_GATES(NORM)                                                            \
  (tanh ? (output_gate ? LRN_CHOOSE(gates<NORM, true, true>)                     \
                       : LRN_CHOOSE(gates<NORM, true, false>))                   \
        : (output_gate ? LRN_CHOOSE(gates<NORM, false, true>)                    \
                       : LRN_CHOOSE(gates<NORM, false, false>)))
  run(gain ? LRN_GATES(true) : LRN_GATES(false), task, state.size(0), width);
  return next;
}

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
  task.branch = data(branch);
  task.gain = data(gain);
  task.shift = data(shift);
  task.out = out.mutable_data_ptr<float>();
  run(LRN_CHOOSE(add_norm), task, x.size(0), x.size(1));
  return out;
}

at::Tensor attention(
    const at::Tensor& query,
    const at::Tensor& keys,
    const at::Tensor& values,
    const std::optional<at::Tensor>& padding,
    int64_t heads,
    double masked_score) {
  const at::Tensor context = at::empty_like(query);
  Attention task;
  task.length = keys.size(0);
  task.sentences = keys.size(1);
  task.width = keys.size(2);
  task.hypotheses = query.size(0) / task.sentences;
  task.heads = heads;
  task.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(task.width / heads)));
  task.masked_score = static_cast<float>(masked_score);
  task.query = query.const_data_ptr<float>();
  task.keys = keys.const_data_ptr<float>();
  task.values = values.const_data_ptr<float>();
  task.padding = padding ? padding->const_data_ptr<bool>() : nullptr;
  task.context = context.mutable_data_ptr<float>();
  const int64_t each = task.hypotheses * task.length * (task.width / heads);
  run(LRN_CHOOSE(attention), task, task.sentences * heads, each);
  return context;
}

constexpr int64_t kParameters = 20;

bool is_plain(const at::Tensor& tensor, int64_t dim) {
  return tensor.dim() == dim && tensor.is_contiguous() && tensor.scalar_type() == at::kFloat;
}

// The parameters of a layer, as fairseq_lrn/ops/decoder_step.py lists them.
struct Layer {
  // The kernels read what the sizes of x and state let them expect.
  Layer(const std::optional<at::Tensor>* parameters, int64_t width, int64_t hidden)
      : at(parameters) {
    const int64_t projected = rows(0);
    TORCH_CHECK(
        projected == 3 * hidden || projected == 4 * hidden,
        "the projection must be 3 or 4 times as wide as the state, ", hidden, ", not ", projected);
    matrix(0, projected, width);
    for (const int64_t index : {1, 2, 3}) vector(index, projected, false);
    matrix(4, width, hidden);
    matrix(8, width, width);
    matrix(10, width, width);
    for (const int64_t index : {5, 9, 11}) vector(index, width, false);
    for (const int64_t index : {6, 7, 12, 13}) vector(index, width, true);
    if (!at[14]) return;
    const int64_t inner = rows(14);
    matrix(14, inner, width);
    vector(15, inner, false);
    matrix(16, width, inner);
    vector(17, width, false);
    for (const int64_t index : {18, 19}) vector(index, width, true);
  }

  const std::optional<at::Tensor>* at;

  int64_t rows(int64_t index) const {
    TORCH_CHECK(at[index] && at[index]->dim() == 2, "parameter ", index, " must be a matrix");
    return outputs(*at[index]);
  }
  void matrix(int64_t index, int64_t out, int64_t in) const {
    // Whether one in 8 bits has the right number of inputs is checked where it is multiplied.
    TORCH_CHECK(
        rows(index) == out && (is_quantised(*at[index]) || at[index]->size(1) == in),
        "parameter ", index, " must be ", out, " x ", in, ", not ", at[index]->sizes());
  }
  void vector(int64_t index, int64_t size, bool required) const {
    TORCH_CHECK(at[index] || !required, "parameter ", index, " is missing");
    TORCH_CHECK(
        !at[index] || (is_plain(*at[index], 1) && at[index]->size(0) == size),
        "parameter ", index, " must have ", size, " elements of float32");
  }
  at::Tensor product(int64_t index, const at::Tensor& x) const {
    return multiply(x, *at[index], at[index + 1]);
  }
  at::Tensor enter(int64_t norm, const at::Tensor& x, double eps, bool before) const {
    return before ? add_norm(x, std::nullopt, at[norm], at[norm + 1], eps) : x;
  }
  at::Tensor join(
      int64_t norm, const at::Tensor& x, const at::Tensor& branch, double eps, bool before) const {
    return before ? add_norm(x, branch, std::nullopt, std::nullopt, eps)
                  : add_norm(x, branch, at[norm], at[norm + 1], eps);
  }
};


std::tuple<at::Tensor, std::vector<at::Tensor>> lrn_decoder_step(
    const at::Tensor& input,
    at::TensorList states,
    at::TensorList memory,
    const std::optional<at::Tensor>& any_padding,
    const c10::List<std::optional<at::Tensor>>& parameters,
    int64_t heads,
    std::string_view activation,
    bool before,
    double eps,
    double gate_eps,
    double masked_score) {
  const int64_t layers = static_cast<int64_t>(states.size());
  TORCH_CHECK(
      static_cast<int64_t>(parameters.size()) == kParameters * layers &&
          static_cast<int64_t>(memory.size()) == 2 * layers,
      "there must be ", kParameters, " parameters and two memories for each of ", layers, " layers");
  TORCH_CHECK(is_plain(input, 2), "x must be N x C, contiguous and float32");
  std::optional<at::Tensor> padding;
  if (any_padding) padding = any_padding->contiguous();
  std::vector<std::optional<at::Tensor>> all;
  all.reserve(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) all.push_back(parameters.get(i));
  at::Tensor x = input;
  std::vector<at::Tensor> next;
  for (int64_t index = 0; index < layers; ++index) {
    const at::Tensor keys = memory[2 * index].contiguous();
    const at::Tensor values = memory[2 * index + 1].contiguous();
    TORCH_CHECK(
        is_plain(states[index], 2) && is_plain(keys, 3) && is_plain(values, 3) &&
            keys.sizes() == values.sizes() && keys.size(2) == x.size(1) && heads > 0 &&
            x.size(1) % heads == 0 && keys.size(1) > 0 && x.size(0) % keys.size(1) == 0 &&
            states[index].size(0) == x.size(0),
        "states must be N x H, and keys and values S x B x C with N a multiple of B, all float32");
    TORCH_CHECK(
        !padding ||
            (padding->scalar_type() == at::kBool && padding->dim() == 2 &&
             padding->size(0) == keys.size(1) && padding->size(1) == keys.size(0)),
        "padding_mask must be boolean and B x S");
    const Layer layer(all.data() + kParameters * index, x.size(1), states[index].size(1));
    const at::Tensor projected =
        multiply(layer.enter(6, x, eps, before), *layer.at[0], std::nullopt);
    next.push_back(gates(
        projected,
        states[index],
        layer.at[2],
        layer.at[2] ? layer.at[3] : layer.at[1],
        gate_eps,
        activation == "tanh"));
    x = layer.join(6, x, layer.product(4, next.back()), eps, before);
    const at::Tensor query = layer.product(8, layer.enter(12, x, eps, before));
    const at::Tensor context = attention(query, keys, values, padding, heads, masked_score);
    x = layer.join(12, x, layer.product(10, context), eps, before);
    if (!layer.at[14]) continue;
    const at::Tensor inner = at::relu(layer.product(14, layer.enter(18, x, eps, before)));
    x = layer.join(18, x, layer.product(16, inner), eps, before);
  }
  return {x, next};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("lrn_decoder_step", lrn_decoder_step);
}

// With weights that oneDNN laid out.
TORCH_LIBRARY_IMPL(fairseq_lrn, MkldnnCPU, m) {
  m.impl("lrn_decoder_step", lrn_decoder_step);
}
