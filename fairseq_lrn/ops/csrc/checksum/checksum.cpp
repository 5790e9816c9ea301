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
// Bytes that memory delivers at a time, and the widest registers.
constexpr int64_t kLine = 64;
// Independent sums, which the processor computes at the same time.
constexpr int64_t kChains = 4;
constexpr int64_t kWords = kChains * kLine / sizeof(uint32_t);
// Largest number of lines of which one is read.
constexpr int64_t kParts = 16;
// Blocks between the one that is read and the one that is fetched from memory.
constexpr int64_t kAhead = 64;
// Bytes that one thread covers at a time, a multiple of kParts * kLine.
constexpr int64_t kRegion = 1 << 18;

// A piece of a tensor. Of every block of `lines` lines, a power of two, one is read.
struct Region {
  const char* data;
  int64_t bytes;
  int64_t lines;
  int64_t first_block; // number of the first block in the tensor
  int64_t part; // 0 ... kParts - 1: the parts together read every line
  uint32_t* sums; // of the region's tensor
};

// Which line of a block is read, counted from the start of the region. A hash of the block's number (the
// high bits of its product with 2^32 divided by the golden ratio) scatters these lines. A column has the
// same place in every row, so it is hit in some of them.
LRN_INLINE int64_t chosen_line(const Region& region, int64_t block) {
  const uint32_t scattered = static_cast<uint32_t>(region.first_block + block) * 2654435769u >> 28;
  return block * region.lines + ((scattered + region.part) & (region.lines - 1));
}

// The number of lines in a block, so small that every row contains a whole block.
int64_t lines_in_block(const at::Tensor& tensor) {
  const int64_t row = tensor.dim() > 0 ? tensor.size(-1) * tensor.itemsize() : 0;
  int64_t lines = 1;
  while (lines < kParts && 4 * lines * kLine <= row) {
    lines *= 2;
  }
  return lines;
}

} // namespace

#define LRN_KERNEL_FILE "../checksum/kernel.h"
#include "../common/compile_kernel.h"

namespace {

// A row of sums, M x kWords, for each of M tensors, of which parts[m] is read.
at::Tensor checksums(at::TensorList tensors, at::IntArrayRef parts) {
  const auto count = static_cast<int64_t>(tensors.size());
  TORCH_CHECK(static_cast<int64_t>(parts.size()) == count, "checksums needs a part for each tensor");
  const at::Tensor sums = at::zeros({count, kWords}, at::TensorOptions(at::kInt).device(at::kCPU));
  auto* row = reinterpret_cast<uint32_t*>(sums.mutable_data_ptr<int32_t>());
  std::vector<Region> regions;
  for (int64_t m = 0; m < count; ++m, row += kWords) {
    const at::Tensor& tensor = tensors[m];
    TORCH_CHECK(
        tensor.device().is_cpu() && tensor.is_contiguous(),
        "checksums needs contiguous tensors on a CPU");
    const auto* data = static_cast<const char*>(tensor.const_data_ptr());
    const auto bytes = static_cast<int64_t>(tensor.nbytes());
    const int64_t lines = lines_in_block(tensor);
    for (int64_t offset = 0; offset < bytes; offset += kRegion) {
      regions.push_back(
          {data + offset,
           std::min(kRegion, bytes - offset),
           lines,
           offset / (lines * kLine),
           parts[m],
           row});
    }
  }
  std::vector<uint32_t> of_regions(regions.size() * kWords);
  in_threads(static_cast<int64_t>(regions.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      LRN_DISPATCH(checksum)(regions[i], of_regions.data() + i * kWords);
    }
  });
  const uint32_t* of_region = of_regions.data();
  for (const Region& region : regions) {
    for (int64_t i = 0; i < kWords; ++i) {
      region.sums[i] = region.sums[i] * kFactor + *of_region++;
    }
  }
  return sums;
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("checksums", checksums);
}
