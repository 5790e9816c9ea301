// CPU kernel of the operator lrn_beam_search, whose schema is in fairseq_lrn/ops/beam_search.py.

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/layer_norm.h>
#include <torch/library.h>

#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "../common/products.h"
#include "search.h"

namespace {

Results lrn_beam_search(
    at::TensorList states,
    at::TensorList memory,
    const std::optional<at::Tensor>& padding_mask,
    const c10::List<std::optional<at::Tensor>>& parameters,
    int64_t heads,
    std::string_view activation,
    bool normalize_before,
    double eps,
    double gate_eps,
    double masked_score,
    const at::Tensor& embedding,
    double embed_scale,
    const std::optional<at::Tensor>& norm_gain,
    const std::optional<at::Tensor>& norm_shift,
    double norm_eps,
    const at::Tensor& output,
    int64_t vocabulary,
    at::IntArrayRef symbols,
    at::IntArrayRef sizes,
    double temperature,
    double unk_penalty,
    at::ArrayRef<double> normalisers) {
  TORCH_CHECK(
      !states.empty() && is_contiguous_float(embedding, 2) && embedding.size(0) == vocabulary,
      "lrn_beam_search needs states, and an embedding matrix V x E in float32");
  const SearchOptions options =
      search_options(symbols, sizes, temperature, unk_penalty, normalisers, vocabulary);
  using Step = std::tuple<at::Tensor, Tensors>(
      const at::Tensor&, at::TensorList, at::TensorList, const std::optional<at::Tensor>&,
      const c10::List<std::optional<at::Tensor>>&, int64_t, std::string_view, bool, double, double,
      double);
  static const auto decoder_step = c10::Dispatcher::singleton()
                                       .findSchemaOrThrow("fairseq_lrn::lrn_decoder_step", "")
                                       .typed<Step>();
  const auto advance = [&](const std::vector<int64_t>& tokens, State& state) {
    const at::Tensor x = embed(tokens, embedding, embed_scale);
    at::Tensor features;
    std::tie(features, state.recurrent) = decoder_step.call(
        x, state.recurrent, state.memory, state.padding, parameters, heads, activation,
        normalize_before, eps, gate_eps, masked_score);
    if (norm_gain) {
      features = at::layer_norm(features, {features.size(1)}, norm_gain, norm_shift, norm_eps);
    }
    return affine(features, output, std::nullopt, vocabulary);
  };
  const State start{states.vec(), memory.vec(), padding_mask};
  return results(search(start, states[0].size(0), options, advance));
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("lrn_beam_search", lrn_beam_search);
}

// torch calls this kernel if a weight is in oneDNN's layout.
TORCH_LIBRARY_IMPL(fairseq_lrn, MkldnnCPU, m) {
  m.impl("lrn_beam_search", lrn_beam_search);
}
