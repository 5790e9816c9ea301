// The LRN recurrence for one instruction set. compile_kernel.h includes this file.
//
// A vector lane is one feature of one sentence, and lanes are independent. Every lane is computed by
// the same operations, wherever it lies and whichever thread computes it. So the result has the same
// bits at any number of threads.

// Computes the units first ... last of a scan. Time is the outer loop: memory is read and written in
// order, and the states of a group of units stay in the cache.
template <typename T, typename S, bool kTanh, bool kOutputGate>
void forward(const Scan<T, S>& scan, int64_t first, int64_t last) {
  for (int64_t step = 0; step < scan.time; ++step) {
    const int64_t t = scan.reverse ? scan.time - 1 - step : step;
    for (int64_t index = first; index < last; ++index) {
      const Unit<T, S> unit(scan, index);
      const S* previous = unit.previous(scan, step, t);
      S* state = unit.state(scan, t);
      T* h = unit.h(scan, t);
      if (unit.is_padding(scan, t)) {
        for (int64_t j = 0; j < unit.size; j += kLanes<S>) {
          const int64_t count = std::min(kLanes<S>, unit.size - j);
          const Vector<S> carried = load<S>(previous + j, count);
          store<S>(state + j, carried, count);
          if constexpr (!std::is_same_v<S, T>) store<S>(h + j, carried, count);
        }
        continue;
      }
      const T* k = unit.kqv(scan, t);
      const T* q = k + scan.hidden;
      const T* v = q + scan.hidden;
      const T* o = v + scan.hidden;
      const S* bias_k = scan.bias + unit.feature;
      const S* bias_q = bias_k + scan.hidden;
      const S* bias_v = bias_q + scan.hidden;
      const S* bias_o = bias_v + scan.hidden;
      auto lanes = [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        prefetch<0>(k + j, scan.kqv_batch);
        prefetch<0>(q + j, scan.kqv_batch);
        prefetch<0>(v + j, scan.kqv_batch);
        if constexpr (kOutputGate) prefetch<0>(o + j, scan.kqv_batch);
        prefetch<1>(h + j, scan.h_batch);
        const Vector<S> last_h = load<S>(previous + j, count);
        const auto [input_gate, forget_gate] = two_sigmoids<S>(
            load<S>(k + j, count) + load<S>(bias_k + j, count) + last_h,
            load<S>(q + j, count) + load<S>(bias_q + j, count) - last_h);
        const Vector<S> value = load<S>(v + j, count) + load<S>(bias_v + j, count);
        Vector<S> next = input_gate.value * value + forget_gate.value * last_h;
        if constexpr (kTanh) next = tanh<S>(next);
        if constexpr (kOutputGate) {
          const Vector<S> before_gate = load<S>(o + j, count) + load<S>(bias_o + j, count) - next;
          next = sigmoid<S>(before_gate).value * next;
        }
        store<S>(state + j, next, count);
        if constexpr (!std::is_same_v<S, T>) store<S>(h + j, next, count);
      };
      int64_t j = 0;
      for (; j + kLanes<S> <= unit.size; j += kLanes<S>) lanes(j, kLanes<S>);
      if (j < unit.size) lanes(j, unit.size - j);
    }
  }
}

// Computes the gradients of the units first ... last of a scan, and recomputes the gates from the
// saved states. scan.grad_h0 carries the gradient of the state from step to step; it starts as zero.
template <typename T, typename S, bool kTanh, bool kOutputGate>
void backward(const Scan<T, S>& scan, int64_t first, int64_t last) {
  const int64_t grad_stride = scan.gates * scan.hidden;
  for (int64_t step = scan.time - 1; step >= 0; --step) {
    const int64_t t = scan.reverse ? scan.time - 1 - step : step;
    for (int64_t index = first; index < last; ++index) {
      const Unit<T, S> unit(scan, index);
      const S* previous = unit.previous(scan, step, t);
      const S* state = unit.state(scan, t);
      const T* grad_h = unit.grad_h(scan, t);
      S* grad_state = unit.grad_state(scan);
      T* grad_k = unit.grad_kqv(scan, t);
      T* grad_q = grad_k + scan.hidden;
      T* grad_v = grad_q + scan.hidden;
      T* grad_o = grad_v + scan.hidden;
      if (unit.is_padding(scan, t)) {
        for (int64_t gate = 0; gate < (kOutputGate ? 4 : 3); ++gate) {
          std::fill_n(grad_k + gate * scan.hidden, unit.size, T(0));
        }
        for (int64_t j = 0; j < unit.size; j += kLanes<S>) {
          const int64_t count = std::min(kLanes<S>, unit.size - j);
          const Vector<S> grad = load<S>(grad_state + j, count) + load<S>(grad_h + j, count);
          store<S>(grad_state + j, grad, count);
        }
        continue;
      }
      const T* k = unit.kqv(scan, t);
      const T* q = k + scan.hidden;
      const T* v = q + scan.hidden;
      const T* o = v + scan.hidden;
      const S* bias_k = scan.bias + unit.feature;
      const S* bias_q = bias_k + scan.hidden;
      const S* bias_v = bias_q + scan.hidden;
      const S* bias_o = bias_v + scan.hidden;
      auto lanes = [&](int64_t j, int64_t count) LRN_INLINE_LAMBDA {
        prefetch<0>(k + j, scan.kqv_batch);
        prefetch<0>(q + j, scan.kqv_batch);
        prefetch<0>(v + j, scan.kqv_batch);
        if constexpr (kOutputGate) prefetch<0>(o + j, scan.kqv_batch);
        prefetch<0>(grad_h + j, scan.grad_batch);
        prefetch<0>(previous + j, scan.h_batch);
        prefetch<1>(grad_k + j, grad_stride);
        prefetch<1>(grad_q + j, grad_stride);
        prefetch<1>(grad_v + j, grad_stride);
        if constexpr (kOutputGate) prefetch<1>(grad_o + j, grad_stride);
        const Vector<S> last_h = load<S>(previous + j, count);
        const Vector<S> value = load<S>(v + j, count) + load<S>(bias_v + j, count);
        const auto [input_gate, forget_gate] = two_sigmoids<S>(
            load<S>(k + j, count) + load<S>(bias_k + j, count) + last_h,
            load<S>(q + j, count) + load<S>(bias_q + j, count) - last_h);
        Vector<S> grad = load<S>(grad_state + j, count) + load<S>(grad_h + j, count);
        if constexpr (kOutputGate) {
          Vector<S> cell = input_gate.value * value + forget_gate.value * last_h;
          if constexpr (kTanh) cell = tanh<S>(cell);
          const Sigmoid<S> output_gate =
              sigmoid<S>(load<S>(o + j, count) + load<S>(bias_o + j, count) - cell);
          const Vector<S> through_gate = grad * (cell * output_gate.slope);
          store<S>(grad_o + j, through_gate, count);
          grad = grad * output_gate.value - through_gate;
          if constexpr (kTanh) grad = grad * (S(1) - cell * cell);
        } else if constexpr (kTanh) {
          const Vector<S> h_t = load<S>(state + j, count);
          grad = grad * (S(1) - h_t * h_t);
        }
        // The slope comes first: with a closed gate, the product with a large state would overflow.
        const Vector<S> to_k = grad * (value * input_gate.slope);
        const Vector<S> to_q = grad * (last_h * forget_gate.slope);
        store<S>(grad_k + j, to_k, count);
        store<S>(grad_q + j, to_q, count);
        store<S>(grad_v + j, grad * input_gate.value, count);
        store<S>(grad_state + j, grad * forget_gate.value + to_k - to_q, count);
      };
      int64_t j = 0;
      for (; j + kLanes<S> <= unit.size; j += kLanes<S>) lanes(j, kLanes<S>);
      if (j < unit.size) lanes(j, unit.size - j);
    }
  }
}
