// CPU kernel of the operator checksums, whose schema is in fairseq_lrn/ops/checksum.py.

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "../common/instruction_sets.h"

#define LRN_KERNEL_FILE "../checksum/kernel.h"
#include "../common/compile_kernel.h"

namespace {

// Four vectors of 64 bytes, the widest registers.
constexpr int64_t kWords = 4 * 64 / sizeof(uint32_t);

// A row of sums, M x kWords, for each of M tensors.
at::Tensor checksums(at::TensorList tensors) {
  const auto count = static_cast<int64_t>(tensors.size());
  const at::Tensor sums = at::zeros({count, kWords}, at::TensorOptions(at::kInt).device(at::kCPU));
  auto* row = reinterpret_cast<uint32_t*>(sums.mutable_data_ptr<int32_t>());
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(
        tensor.device().is_cpu() && tensor.is_contiguous(),
        "checksums needs contiguous tensors on a CPU");
    LRN_DISPATCH(checksum)
    (static_cast<const char*>(tensor.const_data_ptr()), static_cast<int64_t>(tensor.nbytes()), row);
    row += kWords;
  }
  return sums;
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("checksums", checksums);
}
