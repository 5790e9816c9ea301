"""Encoder and decoder step as ONNX, run by onnxruntime."""

import pytest
import torch

from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.onnx_export import export, has_exporter

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytestmark = pytest.mark.skipif(not has_exporter(), reason="this torch is too old")


@pytest.mark.parametrize(
    "options",
    [
        {"decoder_ffn_embed_dim": 24, "decoder_normalize_before": True},
        {"cell": "olrn", "activation_fn": "identity", "layernorm_projection": True},
    ],
)
def test_agrees_with_torch(build, batch, tmp_path, options):
    """Log-probabilities of given targets, in batches of other sizes than that of the export."""
    model = build(**options)
    export(model, str(tmp_path))
    encoder, decoder = (
        onnxruntime.InferenceSession(str(tmp_path / f"{part}.onnx"))
        for part in ("encoder", "decoder")
    )
    for lengths, left in (([5, 2, 4, 7, 1], True), ([6, 3], False), ([3], True)):
        src, prev = batch(lengths, left), batch([6] * len(lengths))
        with torch.no_grad():
            expected = model.get_normalized_probs(model(src, None, prev), log_probs=True)
        states, memory, mask = encoder.run(None, {"src_tokens": src.numpy()})
        for position in range(6):
            inputs = {"states": states, "memory": memory, "padding_mask": mask}
            inputs["tokens"] = prev[:, position].contiguous().numpy()
            log_probs, states = decoder.run(None, inputs)
            torch.testing.assert_close(
                torch.from_numpy(log_probs), expected[:, position], rtol=0, atol=1e-5
            )


@pytest.mark.parametrize(
    "name, options, reason",
    [
        ("lrn_rnmt", {}, "RNMTModel does not support it"),
        ("transformer_lrn", {}, "TransformerLRNModel does not support it"),
        ("lrn", {"cell": "gru"}, "only the cells lrn and olrn"),
        ("lrn", {"adaptive_softmax_cutoff": "9"}, "adaptive softmax"),
    ],
)
def test_other_models(builders, tmp_path, name, options, reason):
    with pytest.raises(InputError, match=f"is for models of the architecture lrn: .*{reason}"):
        export(builders[name](**options), str(tmp_path / "onnx"))
    assert not (tmp_path / "onnx").exists()


def test_other_objects(tmp_path):
    with pytest.raises(InputError, match="Linear does not support it"):
        export(torch.nn.Linear(2, 3), str(tmp_path))


def test_directory_that_cannot_be_made(build, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make .*file/onnx"):
        export(build(), str(tmp_path / "file" / "onnx"))
