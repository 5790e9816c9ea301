// CPU kernel of the operator checksum, whose schema is in fairseq_lrn/ops/checksum.py.

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "../common/instruction_sets.h"

#define LRN_KERNEL_FILE "../checksum/kernel.h"
#include "../common/compile_kernel.h"

namespace {

// Four vectors of 64 bytes, the widest registers.
constexpr int64_t kWords = 4 * 64 / sizeof(uint32_t);

at::Tensor checksum_of(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous(), "checksum needs a contiguous tensor");
  const at::Tensor sums = at::zeros({kWords}, at::TensorOptions(at::kInt).device(at::kCPU));
  LRN_DISPATCH(checksum)
  (static_cast<const char*>(tensor.const_data_ptr()), static_cast<int64_t>(tensor.nbytes()),
   reinterpret_cast<uint32_t*>(sums.mutable_data_ptr<int32_t>()));
  return sums;
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("checksum", checksum_of);
}
