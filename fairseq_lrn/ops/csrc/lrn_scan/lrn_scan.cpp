// CPU kernels of the operators lrn_scan and lrn_scan_backward, whose schemas are in
// fairseq_lrn/ops/lrn_scan/autograd.py.

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

#include "../common/instruction_sets.h"
#include "../common/threads.h"

namespace {

// Number of features in a unit, which is the smallest piece of work for a thread.
constexpr int64_t kUnitSize = 128;
// Number of units that one call of a kernel computes. Their states (512 bytes of float32 each) stay
// in the core's own cache from step to step.
constexpr int64_t kGroup = 256;

// One direction of a scan. T is the type of the tensors, and S the type of the running state.
// The features of a sentence are contiguous. Strides of time and batch count elements.
template <typename T, typename S>
struct Scan {
  int64_t time, batch, hidden, gates;
  bool reverse;
  const T* kqv; // time x batch x gates * hidden
  int64_t kqv_time, kqv_batch; // strides
  const S* bias; // gates * hidden; zeros if the projection has no bias
  const S* h0; // batch x hidden
  const bool* mask = nullptr; // time x batch, true at padding; or null
  int64_t mask_time = 0, mask_batch = 0; // strides
  T* h = nullptr; // time x batch x hidden; forward writes it
  S* states; // time x batch x hidden; forward writes it, backward reads it. Equals h if T is S.
  int64_t h_time, h_batch; // strides of h and states
  const T* grad_h = nullptr; // time x batch x hidden
  int64_t grad_time = 0, grad_batch = 0; // strides
  T* grad_kqv = nullptr; // time x batch x gates * hidden, contiguous
  S* grad_h0 = nullptr; // batch x hidden

  LRN_INLINE int64_t units_per_sentence() const {
    return (hidden + kUnitSize - 1) / kUnitSize;
  }
  LRN_INLINE int64_t units() const {
    return batch * units_per_sentence();
  }
};

// Up to kUnitSize neighbouring features of one sentence. A member function returns a pointer to the
// first of these features in a tensor at time t.
template <typename T, typename S>
struct Unit {
  int64_t sentence, feature, size; // feature: index of the first one

  LRN_INLINE Unit(const Scan<T, S>& scan, int64_t index)
      : sentence(index / scan.units_per_sentence()),
        feature((index - sentence * scan.units_per_sentence()) * kUnitSize),
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
  // The state before step number `step`, which is at time t.
  LRN_INLINE const S* previous(const Scan<T, S>& scan, int64_t step, int64_t t) const {
    return step == 0 ? scan.h0 + sentence * scan.hidden + feature
                     : state(scan, scan.reverse ? t + 1 : t - 1);
  }
  LRN_INLINE S* grad_state(const Scan<T, S>& scan) const {
    return scan.grad_h0 + sentence * scan.hidden + feature;
  }
};

} // namespace

#define LRN_KERNEL_FILE "../lrn_scan/kernel.h"
#include "../common/compile_kernel.h"

namespace {

enum class Pass { kForward, kBackward };

template <typename T, typename S>
void run_scan(const Scan<T, S>& scan, std::string_view activation, Pass pass) {
  const Kernel<Scan<T, S>> kernel = with_constants(
      [&](auto tanh, auto output_gate) {
        return pass == Pass::kForward ? LRN_DISPATCH(forward<T, S, tanh, output_gate>)
                                      : LRN_DISPATCH(backward<T, S, tanh, output_gate>);
      },
      activation == "tanh",
      scan.gates == 4);
  run(kernel, scan, scan.units(), scan.time * kUnitSize, kGroup);
}

// An uninitialised tensor, in huge pages if the system offers them. The allocator returns a large
// block to the system and gets it again each time, and mapping it page by page would take longer than
// the kernel.
at::Tensor empty_in_huge_pages(at::IntArrayRef sizes, at::TensorOptions options) {
  const at::Tensor tensor = at::empty(sizes, options);
#if defined(__linux__)
  constexpr uintptr_t huge_page = 1 << 21;
  const auto start = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  const uintptr_t first = (start + huge_page - 1) / huge_page * huge_page;
  const uintptr_t last = (start + tensor.nbytes()) / huge_page * huge_page;
  // The allocator reuses smaller blocks. The call is only a hint, so a failure is harmless.
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

// Keeps a direct call of the operator from reading memory outside of its tensors. Callers of lrn_scan
// in Python get the messages of fairseq_lrn/ops/lrn_scan/contract.py.
void check(
    at::TensorList kqv,
    const at::Tensor& h0,
    const std::optional<at::Tensor>& mask,
    at::TensorList bias,
    std::string_view activation) {
  TORCH_CHECK(
      activation == "tanh" || activation == "identity",
      "activation must be tanh or identity, not ", activation);
  TORCH_CHECK(kqv.size() <= 2, "lrn_scan has at most two directions, not ", kqv.size());
  TORCH_CHECK(
      h0.dim() == 3 && h0.size(0) == static_cast<int64_t>(kqv.size()) && !kqv.empty(),
      "h0 must be D x B x H, and kqv must have D tensors, not ", h0.sizes(), " and ", kqv.size());
  for (const at::Tensor& projection : kqv) {
    TORCH_CHECK(
        projection.dim() == 3 && projection.size(1) == h0.size(1) &&
            (projection.size(2) == 3 * h0.size(2) || projection.size(2) == 4 * h0.size(2)),
        "kqv must be T x B x (3H or 4H) with B and H of h0, ", h0.sizes(), ", not ",
        projection.sizes());
    TORCH_CHECK(
        projection.sizes() == kqv[0].sizes() &&
            projection.scalar_type() == kqv[0].scalar_type(),
        "kqv must have the same shape and type in both directions");
  }
  TORCH_CHECK(
      !mask || (mask->scalar_type() == at::kBool && mask->dim() == 2 &&
                mask->size(0) == kqv[0].size(0) && mask->size(1) == kqv[0].size(1)),
      "padding_mask must be boolean and T x B");
  TORCH_CHECK(
      bias.empty() || bias.size() == kqv.size(), "bias must have a tensor for each direction");
  for (const at::Tensor& vector : bias) {
    TORCH_CHECK(
        vector.dim() == 1 && vector.size(0) == kqv[0].size(2),
        "bias must have ", kqv[0].size(2), " elements, because kqv is so wide, not ",
        vector.sizes());
  }
}

// The bias of one direction, in the type of the state; zeros if the projection has no bias.
at::Tensor bias_or_zeros(int64_t direction, at::TensorList bias, const at::Tensor& kqv) {
  return bias.empty() ? at::zeros({kqv.size(2)}, kqv.options().dtype(state_type(kqv)))
                      : bias[direction].to(state_type(kqv)).contiguous();
}

// The scan over one direction, with everything that the forward and the backward pass share.
//   kqv: T x B x (3H or 4H), h0: B x H, bias: 3H or 4H, states: T x B x H.
template <typename T, typename S>
Scan<T, S> make_scan(
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

// Scans over D directions, D = 1 or 2. The first direction runs forward in time, or backward with
// `reverse`. The second direction runs the other way.
//   projections: D tensors T x B x (3H or 4H). initial: D x B x H. mask: T x B.
//   biases: D vectors of 3H or 4H elements, or none.
// Returns h, T x B x (D*H), and the states before they were rounded to the type of h. The states are
// empty if that type needs no rounding.
std::tuple<at::Tensor, at::Tensor> lrn_scan(
    at::TensorList projections,
    const at::Tensor& initial,
    const std::optional<at::Tensor>& mask,
    at::TensorList biases,
    std::string_view activation,
    bool reverse) {
  check(projections, initial, mask, biases, activation);
  const at::Tensor& first = projections[0];
  const bool half = is_half(first);
  const at::Tensor h0 = initial.to(state_type(first)).contiguous(); // D x B x H
  const int64_t hidden = h0.size(2);
  const at::Tensor h = empty_in_huge_pages(
      {first.size(0), first.size(1), h0.size(0) * hidden}, first.options());
  const at::Tensor states =
      empty_in_huge_pages(half ? h.sizes() : at::IntArrayRef{0}, h0.options());
  if (h.numel() == 0) return {h, states};
  for (int64_t direction = 0; direction < h0.size(0); ++direction) {
    const at::Tensor kqv = with_contiguous_rows(projections[direction]);
    const at::Tensor bias = bias_or_zeros(direction, biases, kqv);
    const at::Tensor out = h.narrow(2, direction * hidden, hidden); // T x B x H
    const at::Tensor state = half ? states.narrow(2, direction * hidden, hidden) : out;
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, kqv.scalar_type(), "lrn_scan", [&] {
      using state_t = at::opmath_type<scalar_t>;
      auto scan = make_scan<scalar_t, state_t>(
          kqv, h0[direction], mask, bias, state, reverse != (direction == 1));
      scan.h = out.mutable_data_ptr<scalar_t>();
      run_scan(scan, activation, Pass::kForward);
    });
  }
  return {h, states};
}

// The gradients of lrn_scan, whose arguments these are. `states` are the unrounded states: the second
// result of lrn_scan, or h if that result is empty.
//   grad, states: T x B x (D*H).
std::tuple<std::vector<at::Tensor>, at::Tensor> lrn_scan_backward(
    const at::Tensor& grad,
    at::TensorList projections,
    const at::Tensor& initial,
    const std::optional<at::Tensor>& mask,
    at::TensorList biases,
    const at::Tensor& states,
    std::string_view activation,
    bool reverse) {
  check(projections, initial, mask, biases, activation);
  const at::Tensor& first = projections[0];
  const at::Tensor grad_h = with_contiguous_rows(grad);
  const at::Tensor h0 = initial.to(state_type(first)).contiguous(); // D x B x H
  const int64_t hidden = h0.size(2);
  const std::vector<int64_t> shape = {first.size(0), first.size(1), h0.size(0) * hidden};
  TORCH_CHECK(
      states.sizes() == shape && grad_h.sizes() == shape && states.stride(-1) == 1 &&
          grad_h.scalar_type() == first.scalar_type() && states.scalar_type() == h0.scalar_type(),
      "grad_h and states must have the shape and the type of the results of lrn_scan");
  const at::Tensor grad_h0 = at::zeros(h0.sizes(), h0.options());
  std::vector<at::Tensor> grad_projections;
  for (int64_t direction = 0; direction < h0.size(0); ++direction) {
    const at::Tensor kqv = with_contiguous_rows(projections[direction]);
    const at::Tensor bias = bias_or_zeros(direction, biases, kqv);
    const at::Tensor grad_kqv = empty_in_huge_pages(kqv.sizes(), kqv.options());
    grad_projections.push_back(grad_kqv);
    if (states.numel() == 0) continue;
    const at::Tensor grad_out = grad_h.narrow(2, direction * hidden, hidden); // T x B x H
    const at::Tensor state = states.narrow(2, direction * hidden, hidden); // T x B x H
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, kqv.scalar_type(), "lrn_scan", [&] {
      using state_t = at::opmath_type<scalar_t>;
      auto scan = make_scan<scalar_t, state_t>(
          kqv, h0[direction], mask, bias, state, reverse != (direction == 1));
      scan.grad_h = grad_out.const_data_ptr<scalar_t>();
      scan.grad_time = grad_out.stride(0);
      scan.grad_batch = grad_out.stride(1);
      scan.grad_kqv = grad_kqv.mutable_data_ptr<scalar_t>();
      scan.grad_h0 = grad_h0[direction].mutable_data_ptr<state_t>();
      run_scan(scan, activation, Pass::kBackward);
    });
  }
  return {grad_projections, grad_h0.to(initial.scalar_type())};
}

} // namespace

TORCH_LIBRARY_IMPL(fairseq_lrn, CPU, m) {
  m.impl("lrn_scan", lrn_scan);
  m.impl("lrn_scan_backward", lrn_scan_backward);
}
