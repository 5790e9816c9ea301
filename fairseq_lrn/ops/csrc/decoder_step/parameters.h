// The parameters of a decoder layer: their names, their order and their shapes.

#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "../common/products.h"

namespace {

enum class Presence { kRequired, kOptional, kRequiredInFfn };

// The parameters in the order in which lrn_decoder_step takes them, as X(name, presence, sizes...).
// Two sizes are the rows and columns of a matrix, one size is the length of a vector. `width` is the
// width C of the residual stream, `hidden` is the size H of the state, `gates` is 3H or 4H, and `inner`
// is the width of the feed-forward block.
#define LRN_LAYER_PARAMETERS(X)                    \
  X(gates_weight, kRequired, gates, width)         \
  X(gates_bias, kOptional, gates)                  \
  X(gates_norm_gain, kOptional, gates)             \
  X(gates_norm_shift, kOptional, gates)            \
  X(out_weight, kRequired, width, hidden)          \
  X(out_bias, kOptional, width)                    \
  X(residual_norm_gain, kRequired, width)          \
  X(residual_norm_shift, kRequired, width)         \
  X(query_weight, kRequired, width, width)         \
  X(query_bias, kOptional, width)                  \
  X(attention_out_weight, kRequired, width, width) \
  X(attention_out_bias, kOptional, width)          \
  X(attention_norm_gain, kRequired, width)         \
  X(attention_norm_shift, kRequired, width)        \
  X(ffn_in_weight, kRequiredInFfn, inner, width)   \
  X(ffn_in_bias, kOptional, inner)                 \
  X(ffn_out_weight, kRequiredInFfn, width, inner)  \
  X(ffn_out_bias, kOptional, width)                \
  X(ffn_norm_gain, kRequiredInFfn, width)          \
  X(ffn_norm_shift, kRequiredInFfn, width)

struct ParameterInfo {
  const char* name;
  Presence presence;
};

#define LRN_INFO(name, presence, ...) {#name, Presence::presence},
constexpr ParameterInfo kParameters[] = {LRN_LAYER_PARAMETERS(LRN_INFO)};
#undef LRN_INFO
constexpr int64_t kParameterCount = std::size(kParameters);

constexpr bool is_required(Presence presence, bool has_ffn) {
  return presence == Presence::kRequired || (presence == Presence::kRequiredInFfn && has_ffn);
}

std::vector<std::string> parameter_names() {
  std::vector<std::string> names;
  for (const ParameterInfo& parameter : kParameters) names.emplace_back(parameter.name);
  return names;
}

// The names of the required parameters that a layer with the parameters `given` lacks.
std::vector<std::string> missing_parameter_names(const c10::List<std::string>& given) {
  const auto is_given = [&](const std::string& name) {
    return std::find(given.begin(), given.end(), name) != given.end();
  };
  const bool has_ffn = is_given("ffn_in_weight") || is_given("ffn_out_weight");
  std::vector<std::string> names;
  for (const ParameterInfo& parameter : kParameters) {
    if (is_required(parameter.presence, has_ffn) && !is_given(parameter.name)) {
      names.emplace_back(parameter.name);
    }
  }
  return names;
}

// The parameters of one layer.
struct Layer {
#define LRN_MEMBER(name, ...) std::optional<at::Tensor> name;
  LRN_LAYER_PARAMETERS(LRN_MEMBER)
#undef LRN_MEMBER

  // Takes the parameters of layer number `index` from the parameters of all layers.
  Layer(const c10::List<std::optional<at::Tensor>>& all, int64_t index) : index_(index) {
    int64_t position = kParameterCount * index;
#define LRN_TAKE(name, ...) name = all.get(position++);
    LRN_LAYER_PARAMETERS(LRN_TAKE)
#undef LRN_TAKE
  }

  bool has_ffn() const {
    return ffn_in_weight || ffn_out_weight;
  }

  // Checks all parameters, so that the kernels stay inside of them. The sizes of x and of the state
  // give `width` and `hidden`; the weights give the other sizes.
  void check(int64_t width, int64_t hidden) const {
    const int64_t gates = rows("gates_weight", gates_weight);
    TORCH_CHECK(
        gates == 3 * hidden || gates == 4 * hidden,
        "gates_weight of layer ", index_, " must have 3 or 4 times as many rows as the state has "
        "features, ", hidden, ", not ", gates);
    const int64_t inner = has_ffn() ? rows("ffn_in_weight", ffn_in_weight) : 0;
#define LRN_CHECK(name, presence, ...) \
  check_parameter(#name, name, is_required(Presence::presence, has_ffn()), {__VA_ARGS__});
    LRN_LAYER_PARAMETERS(LRN_CHECK)
#undef LRN_CHECK
  }

 private:
  int64_t index_;

  int64_t rows(const char* name, const std::optional<at::Tensor>& weight) const {
    TORCH_CHECK(weight, name, " of layer ", index_, " is missing");
    TORCH_CHECK(weight->dim() == 2, name, " of layer ", index_, " must be a matrix");
    return output_count(*weight);
  }

  void check_parameter(
      const char* name,
      const std::optional<at::Tensor>& parameter,
      bool required,
      std::initializer_list<int64_t> sizes) const {
    TORCH_CHECK(parameter || !required, name, " of layer ", index_, " is missing");
    if (!parameter) return;
    const int64_t* size = sizes.begin();
    if (sizes.size() == 2) {
      // int8_linear checks the number of inputs of an 8-bit weight.
      TORCH_CHECK(
          rows(name, parameter) == size[0] &&
              (is_quantised(*parameter) || parameter->size(1) == size[1]),
          name, " of layer ", index_, " must be ", size[0], " x ", size[1], ", not ",
          parameter->sizes());
    } else {
      TORCH_CHECK(
          is_contiguous_float(*parameter, 1) && parameter->size(0) == size[0],
          name, " of layer ", index_, " must have ", size[0], " elements of float32");
    }
  }
};

} // namespace
