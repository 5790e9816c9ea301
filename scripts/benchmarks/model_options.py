"""The ``fairseq-train`` options of the models that are compared.

This file also runs as a script, without the package installed, and prints the options of a model:
``python scripts/benchmarks/model_options.py lrn_512``. ``scripts/recipes.sh`` uses this output.
"""

import sys
from typing import Dict, List


def _sizes(width: int, layers: int, **more: object) -> List[str]:
    """Equal sizes of encoder and decoder, and a shared embedding matrix."""
    options = ["--share-all-embeddings"]
    for side in ("encoder", "decoder"):
        options += [f"--{side}-embed-dim", str(width), f"--{side}-layers", str(layers)]
        for name, value in more.items():
            options += [f"--{side}-{name.replace('_', '-')}", str(value)]
    return options


def _lstm(width: int) -> List[str]:
    """fairseq's LSTM with 2 + 2 layers."""
    options = ["--arch", "lstm", *_sizes(width, 2, hidden_size=width)]
    return [*options, "--decoder-out-embed-dim", str(width)]


ARCHITECTURES: Dict[str, List[str]] = {
    "lrn_512": [
        *("--arch", "lrn", *_sizes(512, 2, hidden_size=512)),
        *("--decoder-attention-heads", "8"),
    ],
    "transformer_lrn_512": [
        *("--arch", "transformer_lrn", *_sizes(512, 2)),
        *("--encoder-ffn-embed-dim", "2048", "--encoder-attention-heads", "8"),
    ],
    "lstm_512": _lstm(512),
    "transformer_512": [
        *("--arch", "transformer", *_sizes(512, 2, ffn_embed_dim=2048, attention_heads=8)),
    ],
    # The text-only baseline of Wu et al. (2021), "Good for Misconceived Reasons".
    "transformer_tiny": [
        *("--arch", "transformer", *_sizes(128, 4, ffn_embed_dim=256, attention_heads=4)),
    ],
    # About as many parameters as transformer_tiny, and three times as many.
    "lstm": [*_lstm(128), "--encoder-bidirectional"],
    "lstm_256": [*_lstm(256), "--encoder-bidirectional"],
    "lrn_multi30k": ["--arch", "lrn_multi30k"],
    "transformer_lrn_multi30k": ["--arch", "transformer_lrn_multi30k"],
}

if __name__ == "__main__":
    print(*ARCHITECTURES[sys.argv[1]])
