// CPU kernels of lrn_scan, which fairseq_lrn/ops/operator.py defines.

#include <ATen/core/Tensor.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "common.h"

namespace {

// Features that are computed together; the smallest piece of work for a thread.
constexpr int64_t kUnitSize = 128;
// Units whose states stay in a core's own cache while time passes (512 bytes of float each).
constexpr int64_t kGroup = 256;

// All that a kernel needs; T is the type of the tensors, S that of the running state.
// Features of a sentence lie next to each other; time and sentences are strides apart.
template <typename T, typename S>
struct Scan {
  int64_t time, batch, hidden, gates;
  bool reverse;
  const T* kqv;
  int64_t kqv_time, kqv_batch;
  const S* bias; // gates * hidden; zeros where there is none
  const S* h0; // batch x hidden, as grad_h0
  const bool* mask = nullptr;
  int64_t mask_time = 0, mask_batch = 0;
  T* h = nullptr; // written by forward
  S* states; // the same memory where T is S; written by forward, read by backward
  int64_t h_time, h_batch;
  const T* grad_h = nullptr;
  int64_t grad_time = 0, grad_batch = 0;
  T* grad_kqv = nullptr; // time x batch x gates * hidden
  S* grad_h0 = nullptr;

  LRN_INLINE int64_t blocks() const {
    return (hidden + kUnitSize - 1) / kUnitSize;
  }
  LRN_INLINE int64_t units() const {
    return batch * blocks();
  }
};

// Up to kUnitSize neighbouring features of one sentence; each member is where a tensor has the
// first of them at time t.
template <typename T, typename S>
struct Unit {
  int64_t sentence, feature, size;

  LRN_INLINE Unit(const Scan<T, S>& scan, int64_t index)
      : sentence(index / scan.blocks()),
        feature((index - sentence * scan.blocks()) * kUnitSize),
        size(std::min(kUnitSize, scan.hidden - feature)) {}

  LRN_INLINE bool is_padding(const Scan<T, S>& scan, int64_t t) const {
    return scan.mask && scan.mask[t * scan.mask_time + sentence * scan.mask_batch];
  }
  LRN_INLINE const T* kqv(const Scan<T, S>& scan, int64_t t) const {
    return scan.kqv + t * scan.kqv_time + sentence * scan.kqv_batch + feature;
  }
  LRN_INLINE T* grad_kqv(const Scan<T, S>& scan, int64_t t) const {
    return scan.grad_kqv + (t * scan.batch + sentence) * scan.gates * scan.hidden + feature;
  }
  LRN_INLINE const T* grad_h(const Scan<T, S>& scan, int64_t t) const {
    return scan.grad_h + t * scan.grad_time + sentence * scan.grad_batch + feature;
  }
  LRN_INLINE T* h(const Scan<T, S>& scan, int64_t t) const {
    return scan.h + t * scan.h_time + sentence * scan.h_batch + feature;
  }
  LRN_INLINE S* state(const Scan<T, S>& scan, int64_t t) const {
    return scan.states + t * scan.h_time + sentence * scan.h_batch + feature;
  }
  // The state before step number step, at time t.
  LRN_INLINE const S* previous(const Scan<T, S>& scan, int64_t step, int64_t t) const {
    return step == 0 ? scan.h0 + sentence * scan.hidden + feature
                     : state(scan, scan.reverse ? t + 1 : t - 1);
  }
  LRN_INLINE S* grad_state(const Scan<T, S>& scan) const {
    return scan.grad_h0 + sentence * scan.hidden + feature;
  }
};

} // namespace

#define LRN_KERNEL "lrn_scan_kernel.h"
#include "instruction_sets.h"

namespace {

template <typename Body>
void for_units(int64_t units, int64_t time, const Body& body) {
  const int64_t grain = std::max<int64_t>(1, kGrain / (time * kUnitSize));
  in_threads(units, grain, [&](int64_t first, int64_t last) {
    for (; first < last; first += kGroup) body(first, std::min(first + kGroup, last));
  });
}

#define LRN_PICK(ISA, PASS)                                                               \
  (scan.gates == 4 ? (tanh ? ISA::PASS<T, S, true, true> : ISA::PASS<T, S, false, true>)   \
                   : (tanh ? ISA::PASS<T, S, true, false> : ISA::PASS<T, S, false, false>))
#define LRN_KERNEL(ISA) (is_backward ? LRN_PICK(ISA, backward) : LRN_PICK(ISA, forward))

template <typename T, typename S>
void run(const Scan<T, S>& scan, std::string_view activation, bool is_backward) {
  const bool tanh = activation == "tanh";
  void (*kernel)(const Scan<T, S>&, int64_t, int64_t) = LRN_KERNEL(portable);
#if defined(__x86_64__)
  if (instruction_set() == InstructionSet::kAvx2) kernel = LRN_KERNEL(avx2);
  if (instruction_set() == InstructionSet::kAvx512) kernel = LRN_KERNEL(avx512);
#endif
  for_units(scan.units(), scan.time, [&](int64_t first, int64_t last) {
    kernel(scan, first, last);
  });
}

// Uninitialised, and in huge pages where the system has them on request: a large block comes
// from the system anew each time, and filling it page by page takes longer than the kernel.
at::Tensor empty(at::IntArrayRef sizes, at::TensorOptions options) {
  const at::Tensor tensor = at::empty(sizes, options);
#if defined(__linux__)
  constexpr uintptr_t huge_page = 1 << 21;
  const auto start = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const uintptr_t first = (start + huge_page - 1) / huge_page * huge_page;
  const uintptr_t last = (start + tensor.nbytes()) / huge_page * huge_page;
  // Smaller blocks are reused by the allocator. It is a hint: that it fails does no harm.
  if (tensor.nbytes() >= 2 * huge_page) {
    madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  }
#endif
  return tensor;
}

at::Tensor with_contiguous_rows(const at::Tensor& tensor) {
  return tensor.stride(-1) == 1 ? tensor : tensor.contiguous();
}

bool is_half(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16;
}

at::ScalarType state_type(const at::Tensor& kqv) {
  return is_half(kqv) ? at::kFloat : kqv.scalar_type();
}

// lrn_scan in Python has the friendly messages; these keep a direct call from reading memory
// that is not there.
void check(
    at::TensorList kqv,
    const at::Tensor& h0,
    const std::optional<at::Tensor>& mask,
    at::TensorList bias,
    std::string_view activation) {
  TORCH_CHECK(
      activation == "tanh" || activation == "identity",
      "activation must be tanh or identity, not ", activation);
  TORCH_CHECK(kqv.size() <= 2, "there are at most two directions, not ", kqv.size());
  TORCH_CHECK(
      h0.dim() == 3 && h0.size(0) == static_cast<int64_t>(kqv.size()) && !kqv.empty(),
      "h0 must be D x B x H with as many directions D as kqv has tensors, not ", h0.sizes());
  for (const at::Tensor& one : kqv) {
    TORCH_CHECK(
        one.dim() == 3 && one.size(1) == h0.size(1) &&
            (one.size(2) == 3 * h0.size(2) || one.size(2) == 4 * h0.size(2)),
        "kqv must be T x B x (3H or 4H) with B and H as in h0, ", h0.sizes(), ", not ",
        one.sizes());
    TORCH_CHECK(
        one.sizes() == kqv[0].sizes() && one.scalar_type() == kqv[0].scalar_type(),
        "kqv must have the same shape and type in both directions");
  }
  TORCH_CHECK(
      !mask || (mask->scalar_type() == at::kBool && mask->dim() == 2 &&
                mask->size(0) == kqv[0].size(0) && mask->size(1) == kqv[0].size(1)),
      "padding_mask must be boolean and T x B");
  TORCH_CHECK(
      bias.empty() || bias.size() == kqv.size(), "bias must have a tensor for each direction");
  for (const at::Tensor& one : bias) {
    TORCH_CHECK(
        one.dim() == 1 && one.size(0) == kqv[0].size(2),
        "bias must be as long as kqv is wide, ", kqv[0].size(2), ", not ", one.sizes());
  }
}

at::Tensor bias_of(int64_t direction, at::TensorList bias, const at::Tensor& kqv) {
  return bias.empty() ? at::zeros({kqv.size(2)}, kqv.options().dtype(state_type(kqv)))
                      : bias[direction].to(state_type(kqv)).contiguous();
}

// What forward and backward have in common. h0 and states are those of this direction.
template <typename T, typename S>
Scan<T, S> describe(
    const at::Tensor& kqv,
    const at::Tensor& h0,
    const std::optional<at::Tensor>& mask,
    const at::Tensor& bias,
    const at::Tensor& states,
    bool reverse) {
  Scan<T, S> scan;
  scan.time = kqv.size(0);
  scan.batch = kqv.size(1);
  scan.hidden = h0.size(1);
  scan.gates = kqv.size(2) / scan.hidden;
  scan.reverse = reverse;
  scan.kqv = kqv.const_data_ptr<T>();
  scan.kqv_time = kqv.stride(0);
  scan.kqv_batch = kqv.stride(1);
  scan.bias = bias.const_data_ptr<S>();
  scan.h0 = h0.const_data_ptr<S>();
  if (mask) {
    scan.mask = mask->const_data_ptr<bool>();
    scan.mask_time = mask->stride(0);
    scan.mask_batch = mask->stride(1);
  }
  scan.states = states.mutable_data_ptr<S>();
  scan.h_time = states.stride(0);
  scan.h_batch = states.stride(1);
  return scan;
}

std::tuple<at::Tensor, at::Tensor> lrn_scan(
    at::TensorList all_kqv,
    const at::Tensor& any_h0,
    const std::optional<at::Tensor>& mask,
    at::TensorList all_bias,
    std::string_view activation,
    bool reverse) {
  check(all_kqv, any_h0, mask, all_bias, activation);
  const at::Tensor& first = all_kqv[0];
  const bool half = is_half(first);
  const at::Tensor h0 = any_h0.to(state_type(first)).contiguous();
  const int64_t hidden = h0.size(2);
  const at::Tensor h =
      empty({first.size(0), first.size(1), h0.size(0) * hidden}, first.options());
  const at::Tensor states = empty(half ? h.sizes() : at::IntArrayRef{0}, h0.options());
  if (h.numel() == 0) return {h, states};
  for (int64_t direction = 0; direction < h0.size(0); ++direction) {
    const at::Tensor kqv = with_contiguous_rows(all_kqv[direction]);
    const at::Tensor bias = bias_of(direction, all_bias, kqv);
    const at::Tensor out = h.narrow(2, direction * hidden, hidden);
    const at::Tensor state = half ? states.narrow(2, direction * hidden, hidden) : out;
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, kqv.scalar_type(), "lrn_scan", [&] {
      using state_t = at::opmath_type<scalar_t>;
      auto scan = describe<scalar_t, state_t>(
          kqv, h0[direction], mask, bias, state, reverse != (direction == 1));
      scan.h = out.mutable_data_ptr<scalar_t>();
      run(scan, activation, false);
    });
  }
  return {h, states};
}

std::tuple<std::vector<at::Tensor>, at::Tensor> lrn_scan_backward(
    const at::Tensor& any_grad,
    at::TensorList all_kqv,
    const at::Tensor& any_h0,
    const std::optional<at::Tensor>& mask,
    at::TensorList all_bias,
    const at::Tensor& states,
    std::string_view activation,
    bool reverse) {
  check(all_kqv, any_h0, mask, all_bias, activation);
  const at::Tensor& first = all_kqv[0];
  const at::Tensor grad_h = with_contiguous_rows(any_grad);
  const at::Tensor h0 = any_h0.to(state_type(first)).contiguous();
  const int64_t hidden = h0.size(2);
  const std::vector<int64_t> shape = {first.size(0), first.size(1), h0.size(0) * hidden};
  TORCH_CHECK(
      states.sizes() == shape && grad_h.sizes() == shape && states.stride(-1) == 1 &&
          grad_h.scalar_type() == first.scalar_type() && states.scalar_type() == h0.scalar_type(),
      "grad_h and states must be like h and the states that lrn_scan returned");
  const at::Tensor grad_h0 = at::zeros(h0.sizes(), h0.options());
  std::vector<at::Tensor> all_grad_kqv;
  for (int64_t direction = 0; direction < h0.size(0); ++direction) {
    const at::Tensor kqv = with_contiguous_rows(all_kqv[direction]);
    const at::Tensor bias = bias_of(direction, all_bias, kqv);
    const at::Tensor grad_kqv = empty(kqv.sizes(), kqv.options());
    all_grad_kqv.push_back(grad_kqv);
    if (states.numel() == 0) continue;
    const at::Tensor grad = grad_h.narrow(2, direction * hidden, hidden);
    const at::Tensor state = states.narrow(2, direction * hidden, hidden);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, kqv.scalar_type(), "lrn_scan", [&] {
      using state_t = at::opmath_type<scalar_t>;
      auto scan = describe<scalar_t, state_t>(
          kqv, h0[direction], mask, bias, state, reverse != (direction == 1));
      scan.grad_h = grad.const_data_ptr<scalar_t>();
      scan.grad_time = grad.stride(0);
      scan.grad_batch = grad.stride(1);
      scan.grad_kqv = grad_kqv.mutable_data_ptr<scalar_t>();
      scan.grad_h0 = grad_h0[direction].mutable_data_ptr<state_t>();
      run(scan, activation, true);
    });
  }
  return {all_grad_kqv, grad_h0.to(any_h0.scalar_type())};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("lrn_scan", lrn_scan);
  m.impl("lrn_scan_backward", lrn_scan_backward);
}
