// Work that is divided among torch's threads.

#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace {

// Waking another thread pays off from about this many elements on.
constexpr int64_t kGrain = 16384;

// Splits the range 0 ... count into ranges of at least `grain`, and calls body(first, last) for
// each of them in torch's threads.
// at::parallel_for would need OpenMP in this library. Linking OpenMP could load a second OpenMP
// runtime into the process, and its idle threads would spin against torch's threads.
// TensorIterator starts the threads inside torch instead.
template <typename Body>
void in_threads(int64_t count, int64_t grain, const Body& body) {
  if (count <= grain || at::get_num_threads() == 1) {
    body(0, count);
    return;
  }
  // An address inside this tensor stands for an index; its elements are never read.
  const at::Tensor numbering = at::empty({count}, at::kByte);
  const char* start = static_cast<const char*>(numbering.const_data_ptr());
  at::TensorIterator iterator = at::TensorIteratorConfig().add_const_input(numbering).build();
  iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t size) {
        (void)strides;
        body(data[0] - start, data[0] - start + size);
      },
      grain);
}

// A kernel computes the rows first ... last of a task.
template <typename Task>
using Kernel = void (*)(const Task& task, int64_t first, int64_t last);

// Computes the rows 0 ... rows of a task in torch's threads.
//   row_elements: cost of one row, in elements of an element-wise operation.
//   block: largest number of rows in one call of the kernel.
template <typename Task>
void run(
    Kernel<Task> kernel,
    const Task& task,
    int64_t rows,
    int64_t row_elements,
    int64_t block = std::numeric_limits<int64_t>::max()) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, row_elements));
  in_threads(rows, grain, [&](int64_t first, int64_t last) {
    while (first < last) {
      const int64_t next = first + std::min(block, last - first);
      kernel(task, first, next);
      first = next;
    }
  });
}

} // namespace
