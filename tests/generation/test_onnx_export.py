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
    """Teacher-forced log-probabilities, in batches of other sizes than it was exported with."""
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


def test_other_models(builders, tmp_path):
    for name in ("lrn_rnmt", "transformer_lrn"):
        with pytest.raises(InputError, match="is for the model lrn .*, not for"):
            export(builders[name](), str(tmp_path / "onnx"))
    with pytest.raises(InputError, match="is for the cells lrn and olrn"):
        export(builders["lrn"](cell="gru"), str(tmp_path / "onnx"))
    assert not (tmp_path / "onnx").exists()
