// Affine maps whose weights may be packed for generation.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace {

// In an 8-bit weight, each row holds 16 outputs; see fairseq_lrn/ops/int8_linear.py.
inline bool is_quantised(const at::Tensor& weight) {
  return weight.scalar_type() == at::kChar;
}

inline int64_t output_count(const at::Tensor& weight) {
  return is_quantised(weight) ? 16 * weight.size(0) : weight.size(0);
}

inline bool is_contiguous_float(const at::Tensor& tensor, int64_t dim) {
  return tensor.dim() == dim && tensor.is_contiguous() && tensor.scalar_type() == at::kFloat;
}

// The number of rows to which a product in bfloat16 is padded. It must equal kernel_rows in
// fairseq_lrn/modules/linear.py, which gives the reason.
inline int64_t kernel_rows(int64_t rows) {
  const int64_t multiple = rows <= 16 ? 1 : rows <= 128 ? 16 : 64;
  return (rows + multiple - 1) / multiple * multiple;
}

// x W^T + b, N x D, of x, N x C. The weight is D x C in float32, or in oneDNN's layout (float32 or
// bfloat16), or quantised to 8 bits.
//   outputs: D. It is needed if the panels of an 8-bit weight have padding.
inline at::Tensor affine(
    const at::Tensor& x,
    const at::Tensor& weight,
    const std::optional<at::Tensor>& bias,
    int64_t outputs) {
  if (is_quantised(weight)) {
    using Int8Linear = at::Tensor(
        const at::Tensor&, const at::Tensor&, int64_t, const std::optional<at::Tensor>&);
    static const auto int8_linear = c10::Dispatcher::singleton()
                                        .findSchemaOrThrow("fairseq_lrn::int8_linear", "")
                                        .typed<Int8Linear>();
    return int8_linear.call(x, weight, outputs, bias);
  }
  if (!weight.is_mkldnn()) return at::linear(x, weight, bias);
  using PackedLinear = at::Tensor(
      const at::Tensor&,
      const at::Tensor&,
      const std::optional<at::Tensor>&,
      std::string_view,
      c10::List<std::optional<at::Scalar>>,
      std::optional<std::string_view>);
  static const auto packed_linear = c10::Dispatcher::singleton()
                                        .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                                        .typed<PackedLinear>();
  static const c10::List<std::optional<at::Scalar>> no_scalars;
  const auto type = weight.scalar_type();
  if (type == x.scalar_type()) {
    return packed_linear.call(x, weight, bias, "none", no_scalars, "");
  }
  std::optional<at::Tensor> converted_bias;
  if (bias) converted_bias = bias->to(type);
  const int64_t rows = x.size(0);
  // The padding stays uninitialised, because the product's padding is dropped.
  const at::Tensor padded = at::empty({kernel_rows(rows), x.size(1)}, x.options().dtype(type));
  padded.narrow(0, 0, rows).copy_(x);
  const at::Tensor product =
      packed_linear.call(padded, weight, converted_bias, "none", no_scalars, "");
  return product.narrow(0, 0, rows).to(x.scalar_type());
}

inline at::Tensor affine(
    const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  return affine(x, weight, bias, output_count(weight));
}

} // namespace
