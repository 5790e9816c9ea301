// CPU kernel of the operator checksums, whose schema is in fairseq_lrn/ops/checksum.py.

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "../common/instruction_sets.h"
#include "../common/threads.h"

namespace {

// Odd, so that a change of a single word always changes a sum of powers of it.
constexpr uint32_t kFactor = 31;

} // namespace

#define LRN_KERNEL_FILE "../checksum/kernel.h"
#include "../common/compile_kernel.h"

namespace {

// Four vectors of 64 bytes, the widest registers.
constexpr int64_t kWords = 4 * 64 / sizeof(uint32_t);
// Bytes that one thread reads at a time.
constexpr int64_t kBlock = 1 << 18;

struct Block {
  const char* data;
  int64_t bytes;
  uint32_t* sums; // of the block's tensor
};

// A row of sums, M x kWords, for each of M tensors.
at::Tensor checksums(at::TensorList tensors) {
  const auto count = static_cast<int64_t>(tensors.size());
  const at::Tensor sums = at::zeros({count, kWords}, at::TensorOptions(at::kInt).device(at::kCPU));
  auto* row = reinterpret_cast<uint32_t*>(sums.mutable_data_ptr<int32_t>());
  std::vector<Block> blocks;
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(
        tensor.device().is_cpu() && tensor.is_contiguous(),
        "checksums needs contiguous tensors on a CPU");
    const auto* data = static_cast<const char*>(tensor.const_data_ptr());
    const auto bytes = static_cast<int64_t>(tensor.nbytes());
    for (int64_t offset = 0; offset < bytes; offset += kBlock) {
      blocks.push_back({data + offset, std::min(kBlock, bytes - offset), row});
    }
    row += kWords;
  }
  std::vector<uint32_t> parts(blocks.size() * kWords); // the sums of each block
  in_threads(static_cast<int64_t>(blocks.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      LRN_DISPATCH(checksum)(blocks[i].data, blocks[i].bytes, parts.data() + i * kWords);
    }
  });
  const uint32_t* part = parts.data();
  for (const Block& block : blocks) {
    for (int64_t i = 0; i < kWords; ++i) {
      block.sums[i] = block.sums[i] * kFactor + *part++;
    }
  }
  return sums;
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("checksums", checksums);
}
