"""torch.ops.fairseq_lrn.lrn_scan in torch's company: compilers, threads, processes."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn

from fairseq_lrn import LRN
from fairseq_lrn.ops import build, lrn_scan
from kernels import needs_cpp

# Its compiler follows the choice of a backend instead of asking for it.
OLD_TORCH = torch.__version__ < (2, 3)
LRN_SCAN = torch.ops.fairseq_lrn.lrn_scan


def arguments(directions=2, gates=3, dtype=torch.float32, requires_grad=True):
    kqv = [torch.randn(4, 3, gates * 5, dtype=dtype) for _ in range(directions)]
    h0 = torch.randn(directions, 3, 5, dtype=dtype)
    bias = [torch.randn(gates * 5, dtype=dtype) for _ in range(directions)]
    for tensor in (*kqv, h0, *bias):
        tensor.requires_grad_(requires_grad)
    return kqv, h0, torch.rand(4, 3) < 0.3, bias


@pytest.mark.skipif(not hasattr(torch.library, "opcheck"), reason="this torch has no opcheck")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("gates", [3, 4])
def test_opcheck(gates, dtype):
    lrn_scan(torch.randn(1, 1, 3), torch.randn(1, 1))  # loads the kernel
    kqv, h0, mask, bias = arguments(gates=gates, dtype=dtype)
    for variant in ((mask, bias), (None, [])):
        torch.library.opcheck(LRN_SCAN, (kqv, h0, *variant, "tanh", False))
        with torch.no_grad():
            h, states = LRN_SCAN(kqv, h0, *variant, "tanh", False)
        states = states if states.numel() else h
        plain = [tensor.detach() for tensor in (*kqv, h0, *variant[1])]
        torch.library.opcheck(
            torch.ops.fairseq_lrn.lrn_scan_backward,
            (h, plain[:2], plain[2], variant[0], plain[3:], states, "identity", True),
        )


@pytest.mark.parametrize("change", ["h0", "kqv", "mask", "bias", "activation", "layout"])
def test_direct_call_with_wrong_shapes(change):
    lrn_scan(torch.randn(1, 1, 3), torch.randn(1, 1))
    kqv, h0, mask, bias = arguments(requires_grad=False)
    if change == "h0":
        h0 = h0[:, :, 1:]
    elif change == "kqv":
        kqv = [kqv[0], kqv[1][1:]]
    elif change == "mask":
        mask = mask[:, 1:]
    elif change == "bias":
        bias = [bias[0], bias[1][1:]]
    elif change == "layout":
        mask = mask.to_sparse()
    activation = "relu" if change == "activation" else "tanh"
    with pytest.raises((RuntimeError, NotImplementedError), match="lrn_scan|must"):
        LRN_SCAN(kqv, h0, mask, bias, activation, False)


def test_sparse_gradient():
    kqv, h0, mask, bias = arguments(requires_grad=False)
    h, _ = LRN_SCAN(kqv, h0, mask, bias, "tanh", False)
    backward = torch.ops.fairseq_lrn.lrn_scan_backward
    with pytest.raises(RuntimeError, match="lrn_scan: .* must be dense"):
        backward(h.to_sparse(), kqv, h0, mask, bias, h, "tanh", False)


@needs_cpp
def test_saves_inputs_and_states_only():
    kqv, h0, mask, bias = arguments()
    h = lrn_scan(kqv, h0, mask, bias=bias)
    saved = {tensor.data_ptr() for tensor in h.grad_fn.saved_tensors}
    assert saved == {tensor.data_ptr() for tensor in (*kqv, h0, mask, *bias, h)}


@needs_cpp
def test_gradient_cannot_be_differentiated_again_unless_by_the_reference():
    kqv, h0 = torch.randn(3, 2, 12).requires_grad_(), torch.randn(2, 4)
    for backend, twice in (("auto", False), ("reference", True)):
        h = lrn_scan(kqv, h0, backend=backend)
        if twice:
            (grad,) = torch.autograd.grad(h.sum(), kqv, create_graph=True)
            grad.sum().backward()
        else:
            with pytest.raises(RuntimeError, match="choose backend='reference'"):
                torch.autograd.grad(h.sum(), kqv, create_graph=True)


def test_forward_mode():
    """By the reference, unless another backend is demanded."""
    kqv, h0 = torch.randn(3, 2, 12), torch.randn(2, 4)
    jacobian = torch.autograd.functional.jacobian(lambda one: lrn_scan(one, h0), kqv)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(kqv, torch.ones_like(kqv))
        tangent = torch.autograd.forward_ad.unpack_dual(lrn_scan(dual, h0)).tangent
        torch.testing.assert_close(tangent, jacobian.sum((3, 4, 5)))
        with pytest.raises(RuntimeError, match="choose backend='reference'"):
            lrn_scan(dual, h0, backend="cpp")


@pytest.mark.parametrize("gates", [3, 4])
@pytest.mark.parametrize("dtype, error", [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.filterwarnings("error")
def test_batched_gradients(gates, dtype, error):
    kqv, h0, mask, bias = arguments(gates=gates, dtype=dtype)
    h = lrn_scan(kqv, h0, mask, bias=bias)
    grads = torch.randn(6, *h.shape, dtype=dtype)
    inputs = (*kqv, h0, *bias)
    batched = torch.autograd.grad(h, inputs, grads, is_grads_batched=True, retain_graph=True)
    for index, grad in enumerate(grads):
        expected = torch.autograd.grad(h, inputs, grad, retain_graph=True)
        for one, other in zip(batched, expected):
            torch.testing.assert_close(one[index], other, rtol=error, atol=error)


def lrn_and_input(**options):
    lrn = LRN(6, 8, num_layers=2, bidirectional=True, **options)
    return lrn, torch.randn(5, 3, 6), torch.rand(5, 3) < 0.3


def outputs_and_gradients(function, lrn, x, mask):
    output, h_n = function(x, None, mask)
    loss = output.float().square().sum() + h_n.float().sum()
    return output, h_n, *torch.autograd.grad(loss, list(lrn.parameters()))


@pytest.mark.parametrize(
    "compiler, options",
    [
        ("aot_eager", {}),
        ("aot_eager", {"layer_norm": True, "output_gate": True}),
        pytest.param(
            *("inductor", {"layer_norm": True}),
            marks=pytest.mark.skipif(
                not any(map(shutil.which, build.COMPILERS)), reason="inductor compiles C++"
            ),
        ),
    ],
)
def test_compile_in_one_graph(compiler, options):
    lrn, x, mask = lrn_and_input(**options)
    compiled = torch.compile(lrn, fullgraph=not OLD_TORCH, backend=compiler)
    expected = outputs_and_gradients(lrn, lrn, x, mask)
    for one, other in zip(outputs_and_gradients(compiled, lrn, x, mask), expected):
        torch.testing.assert_close(one, other)


def test_script():
    for options in ({}, {"bias": False}, {"layer_norm": True}):
        layer = LRN(6, 8, bidirectional=True, **options).layers[0]
        scripted = torch.jit.script(layer)
        x, h_0, mask = torch.randn(5, 3, 6), torch.randn(2, 3, 8), torch.rand(5, 3) < 0.3
        assert "fairseq_lrn::lrn_scan" in str(scripted.inlined_graph)
        results = []
        for module in (layer, scripted):
            output, h_n = module(x, h_0, mask)
            loss = output.square().sum() + h_n.sum()
            results.append((output, h_n, *torch.autograd.grad(loss, list(layer.parameters()))))
        for one, other in zip(*results):
            torch.testing.assert_close(one, other)


def test_operator_without_a_fused_kernel(root):
    """The operator's own reference: compiled, scripted, and under opcheck."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
        + ["-k", "(aot_eager-options1 or script or opcheck and not dtype1) and not without"],
        env={**os.environ, "PYTHONPATH": str(root), "FAIRSEQ_LRN_BACKEND": "reference"},
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_autocast():
    lrn, x, mask = lrn_and_input()
    exact = outputs_and_gradients(lrn, lrn, x, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = outputs_and_gradients(lrn, lrn, x, mask)
    assert result[0].dtype == torch.bfloat16
    for one, other in zip(result, exact):
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one.float(), other, rtol=0, atol=0.05 * scale)


def test_same_bits_at_any_number_of_threads():
    threads = torch.get_num_threads()
    results = []
    tensors = torch.randn(2, 40, 7, 3 * 300), torch.randn(2, 7, 300), torch.rand(40, 7) < 0.2
    try:
        for number in (1, 2, 3, 8):
            torch.set_num_threads(number)
            kqv = [one.detach().requires_grad_() for one in tensors[0]]
            h0 = tensors[1].detach().requires_grad_()
            h = lrn_scan(kqv, h0, tensors[2])
            results.append((h, *torch.autograd.grad(h.square().sum(), (*kqv, h0))))
    finally:
        torch.set_num_threads(threads)
    for others in results[1:]:
        for one, other in zip(results[0], others):
            assert torch.equal(one, other)


# Prints the OpenMP libraries in memory and the number of threads, before the kernel is loaded
# and after it has run on all of torch's threads.
COUNT_RUNTIMES = """
import os, torch
from fairseq_lrn.ops import backends, lrn_scan
def runtimes():
    with open("/proc/self/maps") as lines:
        files = {line.split()[-1] for line in lines if "/" in line}
    names = (os.path.basename(name) for name in files)
    return sorted(name for name in names if "omp" in name and ".so" in name)
torch.set_num_threads(4)
torch.randn(2000, 2000).exp().sum()
print(runtimes(), len(os.listdir("/proc/self/task")))
kqv = torch.randn(64, 64, 1536).requires_grad_()
lrn_scan(kqv, torch.randn(64, 512)).sum().backward()
print(runtimes(), len(os.listdir("/proc/self/task")))
assert backends()[1].state == "ready", backends()
"""


@needs_cpp
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads Linux's /proc")
def test_one_openmp_runtime(root):
    result = subprocess.run(
        [sys.executable, "-c", COUNT_RUNTIMES],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    before, after = result.stdout.splitlines()
    assert before == after
    assert "omp" in before  # torch's own
    assert b"libgomp" not in build.find().read_bytes()


CAPABILITIES = ["default", "avx2", "avx512"]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_instruction_set(root, capability):
    """The same tests with the kernel of less able processors."""
    best = torch.backends.cpu.get_cpu_capability().lower()
    if best == capability:
        pytest.skip("the tests themselves run on it")
    if best in CAPABILITIES[: CAPABILITIES.index(capability)]:
        pytest.skip(f"this processor offers {best}")  # torch would believe what it is told
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability, "PYTHONPATH": str(root)}
    used = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    ).stdout.strip()
    if used.lower() != capability:
        pytest.skip(f"this processor offers {used}")
    names = ("lrn_scan/test_agreement", "test_cross_entropy", "test_decoder_step")
    tests = [f"tests/ops/{name}.py" for name in (*names, "test_top_log_probs")]
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    pytest_command += ["-p", "no:xdist"]
    result = subprocess.run(
        # The other backends do not use these instructions.
        [*pytest_command, *tests, "-k", "cpp or decoder_step or small_states"],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout


def train_a_step(rank, world, meeting, state, x, target, queue):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    lrn = LRN(6, 8, bidirectional=True)
    lrn.load_state_dict(state)
    model = nn.parallel.DistributedDataParallel(lrn)
    share = slice(rank, None, world)
    (model(x[:, share])[0] - target[:, share]).square().mean().backward()
    if rank == 0:
        queue.put([parameter.grad.numpy() for parameter in lrn.parameters()])
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_data_parallel(tmp_path):
    lrn, x, target = LRN(6, 8, bidirectional=True), torch.randn(5, 4, 6), torch.randn(5, 4, 16)
    (lrn(x)[0] - target).square().mean().backward()
    context = torch.multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    state = {name: tensor.detach() for name, tensor in lrn.state_dict().items()}
    processes = torch.multiprocessing.start_processes(
        train_a_step, (2, tmp_path / "meeting", state, x, target, queue), nprocs=2, join=False
    )
    gradients = queue.get()
    while not processes.join():
        pass
    for parameter, gradient in zip(lrn.parameters(), gradients):
        torch.testing.assert_close(torch.from_numpy(gradient), parameter.grad)
