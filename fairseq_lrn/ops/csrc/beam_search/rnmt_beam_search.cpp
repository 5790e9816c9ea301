// CPU kernel of the operator rnmt_beam_search, whose schema is in fairseq_lrn/ops/beam_search.py.
//
// Shapes: C is the width of a layer's input, H the size of the state, and M the width of the memory.

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "../common/products.h"
#include "search.h"

namespace {

using Optional = std::optional<at::Tensor>;
using Parameters = c10::List<Optional>;

struct Options {
  int64_t heads;
  std::string_view activation;
  double eps; // of the layer norms
};

// The layer norm of x, if there is a gain.
at::Tensor norm(const at::Tensor& x, const Optional& gain, const Optional& shift, double eps) {
  return gain ? at::layer_norm(x, {x.size(1)}, gain, shift, eps) : x;
}

// An affine map with an optional layer norm before its bias: norm(x W^T) + b.
struct Map {
  Optional weight, gain, shift, bias;

  at::Tensor operator()(const at::Tensor& x, double eps) const {
    if (!gain) return affine(x, *weight, bias);
    const at::Tensor y = norm(affine(x, *weight, std::nullopt), gain, shift, eps);
    return bias ? at::add(y, *bias) : y;
  }
};

// The parameters of a layer. A layer without a query takes the context of the layer below it. A layer
// without an upper cell reads input and context together.
struct Layer {
  Map lower, query, upper, out;
  Optional score_vector, norm_gain, norm_shift;

  // The order must equal LAYER_PARAMETERS in fairseq_lrn/ops/beam_search.py.
  Layer(const Parameters& parameters, int64_t index) {
    int64_t next = index * kCount;
    const auto take = [&]() -> Optional { return parameters.get(next++); };
    const auto take_map = [&]() -> Map {
      Map map;
      map.weight = take();
      map.gain = take();
      map.shift = take();
      map.bias = take();
      return map;
    };
    lower = take_map();
    query = take_map();
    upper = take_map();
    out.weight = take();
    out.bias = take();
    score_vector = take();
    norm_gain = take();
    norm_shift = take();
    TORCH_CHECK(lower.weight && out.weight, "layer ", index, " lacks a weight");
    TORCH_CHECK(
        !query.weight || (score_vector && upper.weight), "layer ", index, " lacks a parameter");
  }

  static constexpr int64_t kCount = 17;
};

// The next state, N x H, from the projection, N x (3H or 4H), and the state.
at::Tensor next_state(const at::Tensor& projected, const at::Tensor& state, const Options& options) {
  using Scan = std::tuple<at::Tensor, at::Tensor>(
      at::TensorList, const at::Tensor&, const Optional&, at::TensorList, std::string_view, bool);
  static const auto scan = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("fairseq_lrn::lrn_scan", "")
                               .typed<Scan>();
  const at::Tensor sequence = projected.unsqueeze(0); // N x P to 1 x N x P
  const auto [h, states] =
      scan.call(sequence, state.unsqueeze(0), std::nullopt, {}, options.activation, false);
  return h[0];
}

at::Tensor attend(
    const at::Tensor& query,
    const at::Tensor& keys, // S x B x M
    const at::Tensor& memory, // S x B x M
    const at::Tensor& vector,
    const at::Tensor& score_bias, // B x S
    int64_t heads) {
  using Attention = std::tuple<at::Tensor, at::Tensor>(
      const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
      int64_t);
  static const auto attention = c10::Dispatcher::singleton()
                                    .findSchemaOrThrow("fairseq_lrn::additive_attention", "")
                                    .typed<Attention>();
  // S x B x M to B x S x M
  return std::get<0>(
      attention.call(query, keys.transpose(0, 1), memory, vector, score_bias, heads));
}

// embed_bias: E. parameters: of each layer in turn. feature: weight, gain, shift and bias of the layer
// over the last output and context; the weight is None if there is no such layer.
// memory: the encoder's output, then the keys of each layer with attention, S x B x M each.
Results rnmt_beam_search(
    at::TensorList states,
    at::TensorList memory,
    const at::Tensor& score_bias,
    const Parameters& parameters,
    const Parameters& feature,
    int64_t heads,
    std::string_view activation,
    double eps,
    const at::Tensor& embedding,
    const at::Tensor& embed_bias,
    const at::Tensor& output,
    int64_t vocabulary,
    at::IntArrayRef symbols,
    at::IntArrayRef sizes,
    double temperature,
    double unk_penalty,
    at::ArrayRef<double> normalisers) {
  const int64_t count = static_cast<int64_t>(states.size());
  TORCH_CHECK(
      count > 0 && !memory.empty() && is_contiguous_float(embedding, 2) &&
          embedding.size(0) == vocabulary && is_contiguous_float(score_bias, 2) &&
          static_cast<int64_t>(parameters.size()) == count * Layer::kCount && feature.size() == 4,
      "rnmt_beam_search needs states, a memory, an embedding matrix V x E in float32, ", Layer::kCount,
      " parameters for each layer, and 4 for the feature layer");
  const SearchOptions options =
      search_options(symbols, sizes, temperature, unk_penalty, normalisers, vocabulary);
  const Options layer_options{heads, activation, eps};
  std::vector<Layer> layers;
  size_t attending = 0;
  for (int64_t index = 0; index < count; ++index) {
    layers.emplace_back(parameters, index);
    if (layers.back().query.weight) ++attending;
  }
  TORCH_CHECK(
      layers[0].query.weight && memory.size() == attending + 1,
      "rnmt_beam_search needs a first layer with attention, and keys for each such layer");
  const Map feature_map{feature.get(0), feature.get(1), feature.get(2), feature.get(3)};
  bool is_start = true;
  const auto advance = [&](const std::vector<int64_t>& tokens, State& state) {
    at::Tensor x = is_start
        ? at::zeros({static_cast<int64_t>(tokens.size()), embedding.size(1)}, embedding.options())
        : at::add(embed(tokens, embedding, 1.0), embed_bias);
    is_start = false;
    at::Tensor context;
    size_t keys = 1;
    for (int64_t index = 0; index < count; ++index) {
      const Layer& layer = layers[index];
      at::Tensor& h = state.recurrent[index];
      const at::Tensor input = layer.upper.weight ? x : at::cat({x, context}, 1);
      h = next_state(layer.lower(input, eps), h, layer_options);
      if (layer.query.weight) {
        context = attend(
            layer.query(h, eps), state.memory[keys++], state.memory[0], *layer.score_vector,
            *state.padding, heads);
      }
      if (layer.upper.weight) h = next_state(layer.upper(context, eps), h, layer_options);
      at::Tensor branch = layer.out(h, eps);
      if (branch.size(1) == x.size(1)) branch = at::add(branch, x);
      x = norm(branch, layer.norm_gain, layer.norm_shift, eps);
    }
    if (feature_map.weight) x = at::tanh(feature_map(at::cat({x, context}, 1), eps));
    return affine(x, output, std::nullopt, vocabulary);
  };
  const State start{states.vec(), memory.vec(), score_bias};
  return results(search(start, states[0].size(0), options, advance));
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("rnmt_beam_search", rnmt_beam_search);
}

// torch calls this kernel if a weight is in oneDNN's layout.
TORCH_LIBRARY_IMPL(fairseq_lrn, MkldnnCPU, m) {
  m.impl("rnmt_beam_search", rnmt_beam_search);
}
