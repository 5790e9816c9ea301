// The parameters of a residual recurrent layer: their names, their order and their shapes.

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

#include "products.h"

namespace {

// The parts of a layer that may be absent. A layer has a part if it has one of the part's weights.
enum class Part { kBase, kBackward, kAttention, kFfn };
// Whether a layer that has the part needs the parameter.
enum class Need { kRequired, kOptional };

// The parameters in the order in which the operators take them, as X(name, part, need, sizes...).
// Two sizes are the rows and columns of a matrix, one size is the length of a vector. `width` is the
// width C of the residual stream, `hidden` is the size H of the state, `states` is the size of the
// states of all directions, `gates` is 3H or 4H, and `inner` is the width of the feed-forward block.
#define LRN_LAYER_PARAMETERS(X)                                \
  X(gates_weight, kBase, kRequired, gates, width)              \
  X(gates_bias, kBase, kOptional, gates)                       \
  X(gates_norm_gain, kBase, kOptional, gates)                  \
  X(gates_norm_shift, kBase, kOptional, gates)                 \
  X(backward_gates_weight, kBackward, kRequired, gates, width) \
  X(backward_gates_bias, kBackward, kOptional, gates)          \
  X(backward_gates_norm_gain, kBackward, kOptional, gates)     \
  X(backward_gates_norm_shift, kBackward, kOptional, gates)    \
  X(out_weight, kBase, kRequired, width, states)               \
  X(out_bias, kBase, kOptional, width)                         \
  X(residual_norm_gain, kBase, kRequired, width)               \
  X(residual_norm_shift, kBase, kRequired, width)              \
  X(query_weight, kAttention, kRequired, width, width)         \
  X(query_bias, kAttention, kOptional, width)                  \
  X(attention_out_weight, kAttention, kRequired, width, width) \
  X(attention_out_bias, kAttention, kOptional, width)          \
  X(attention_norm_gain, kAttention, kRequired, width)         \
  X(attention_norm_shift, kAttention, kRequired, width)        \
  X(ffn_in_weight, kFfn, kRequired, inner, width)              \
  X(ffn_in_bias, kFfn, kOptional, inner)                       \
  X(ffn_out_weight, kFfn, kRequired, width, inner)             \
  X(ffn_out_bias, kFfn, kOptional, width)                      \
  X(ffn_norm_gain, kFfn, kRequired, width)                     \
  X(ffn_norm_shift, kFfn, kRequired, width)

struct ParameterInfo {
  const char* name;
  Part part;
  Need need;
};

#define LRN_INFO(name, part, need, ...) {#name, Part::part, Need::need},
constexpr ParameterInfo kParameters[] = {LRN_LAYER_PARAMETERS(LRN_INFO)};
#undef LRN_INFO
constexpr int64_t kParameterCount = std::size(kParameters);

// Whether a layer has a part; is_given(name) tells whether it has a parameter.
template <typename IsGiven>
bool has_part(Part part, const IsGiven& is_given) {
  switch (part) {
    case Part::kBase:
      return true;
    case Part::kBackward:
      return is_given("backward_gates_weight");
    case Part::kAttention:
      return is_given("query_weight") || is_given("attention_out_weight");
    default:
      return is_given("ffn_in_weight") || is_given("ffn_out_weight");
  }
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
  std::vector<std::string> names;
  for (const ParameterInfo& parameter : kParameters) {
    if (parameter.need == Need::kRequired && has_part(parameter.part, is_given) &&
        !is_given(parameter.name)) {
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

  bool has(Part part) const {
    switch (part) {
      case Part::kBase:
        return true;
      case Part::kBackward:
        return backward_gates_weight.has_value();
      case Part::kAttention:
        return query_weight || attention_out_weight;
      default:
        return ffn_in_weight || ffn_out_weight;
    }
  }

  // Checks all parameters, so that the kernels stay inside of them. The sizes of x and of the state
  // give `width` and `hidden`; the weights give the other sizes.
  void check(int64_t width, int64_t hidden) const {
    const int64_t gates = rows("gates_weight", gates_weight);
    TORCH_CHECK(
        gates == 3 * hidden || gates == 4 * hidden,
        "gates_weight of layer ", index_, " must have 3 or 4 times as many rows as the state has "
        "features, ", hidden, ", not ", gates);
    const int64_t states = (has(Part::kBackward) ? 2 : 1) * hidden;
    const int64_t inner = has(Part::kFfn) ? rows("ffn_in_weight", ffn_in_weight) : 0;
#define LRN_CHECK(name, part, need, ...) \
  check_parameter(                       \
      #name, name, Need::need == Need::kRequired && has(Part::part), {__VA_ARGS__});
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
