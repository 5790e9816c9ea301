"""Options of the model ``lrn_rnmt``. The names follow fairseq's ``transformer`` and ``lstm``."""

import math
from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from fairseq_lrn.models.config_checks import (
    check_activation,
    check_choices,
    check_counts,
    check_heads,
    check_probabilities,
    warn_of_no_effect,
)
from fairseq_lrn.modules.cells import CELLS
from fairseq_lrn.ops import ACTIVATIONS

LAYOUTS = ("zero", "paper")


@dataclass
class RNMTConfig(FairseqDataclass):
    """Options of the paper's translation model, with the defaults of ``--arch lrn_rnmt``."""

    cell: ChoiceEnum(CELLS) = field(default="lrn", metadata={"help": "recurrent cell"})
    activation_fn: ChoiceEnum(ACTIVATIONS) = field(
        default="identity", metadata={"help": "output activation g of the cells lrn, olrn and atr"}
    )
    embed_dim: int = field(
        default=512, metadata={"help": "embedding dimension of source and target"}
    )
    hidden_size: int = field(default=512, metadata={"help": "state size of encoder and decoder"})
    encoder_layers: int = field(default=2, metadata={"help": "number of encoder layers"})
    decoder_layers: int = field(default=2, metadata={"help": "number of decoder layers"})
    attention_heads: int = field(default=8, metadata={"help": "number of attention heads"})
    no_context_aware_encoder: bool = field(
        default=False,
        metadata={
            "help": "make the first encoder layer bidirectional instead of context-aware, and the "
            "upper decoder layers plain recurrences over input and context"
        },
    )
    deep_attention: bool = field(
        default=False, metadata={"help": "attention in every decoder layer, not only in the first"}
    )
    no_layer_norm: bool = field(
        default=False, metadata={"help": "no layer norm, neither in the layers nor in the cells"}
    )
    no_feature_layer: bool = field(
        default=False,
        metadata={"help": "no tanh layer over decoder output and context before the output layer"},
    )
    layout: ChoiceEnum(LAYOUTS) = field(
        default="zero",
        metadata={
            "help": "make layers as wide as the embedding (zero, as in the authors' toolkit) or as "
            "the state (paper, as in their release with the paper); no difference if both widths "
            "are equal"
        },
    )
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "share decoder input and output embeddings"}
    )
    share_all_embeddings: bool = field(
        default=False,
        metadata={
            "help": "share encoder, decoder and output embeddings (requires a joined dictionary)"
        },
    )
    mask_extra_symbols: bool = field(
        default=False,
        metadata={
            "help": "give no probability to tokens that are in the target dictionary only because "
            "fairseq needs them: the beginning of sentence, and filler tokens (madeupword...)"
        },
    )
    dropout: float = field(
        default=0.1,
        metadata={"help": "dropout probability: embeddings, layer branches, feature layer"},
    )
    init_scale: float = field(
        default=0.08, metadata={"help": "weights are initialised uniformly in +- this value"}
    )
    encoder_layers_to_keep: Optional[str] = field(
        default=None,
        metadata={"help": "which encoder layers to keep when pruning, e.g. 0,2; must include 0"},
    )
    decoder_layers_to_keep: Optional[str] = field(
        default=None,
        metadata={"help": "which decoder layers to keep when pruning, e.g. 0,2; must include 0"},
    )
    max_source_positions: int = field(
        default=1024, metadata={"help": "longest source sentence, in tokens"}
    )
    max_target_positions: int = field(
        default=1024, metadata={"help": "longest target sentence, in tokens"}
    )

    def check(self) -> None:
        """Refuse invalid values and conflicting options.

        Raises:
            ValueError: names the option and the remedy.
        """
        check_counts(
            self,
            "embed_dim",
            "hidden_size",
            "encoder_layers",
            "decoder_layers",
            "attention_heads",
            "max_source_positions",
            "max_target_positions",
        )
        check_probabilities(self, "dropout")
        check_choices(self, cell=CELLS, activation_fn=ACTIVATIONS, layout=LAYOUTS)
        check_activation(self)
        if not 0.0 < self.init_scale < math.inf:
            raise ValueError(f"--init-scale must be above 0 and finite, not {self.init_scale}")
        check_heads(self, "hidden_size", "attention_heads")
        if self.decoder_layers == 1:
            warn_of_no_effect(self, "with --decoder-layers 1", "deep_attention")
        if self.no_feature_layer and self.layout_size != self.embed_dim:
            raise ValueError(
                "--no-feature-layer with --layout paper requires equal --embed-dim "
                f"({self.embed_dim}) and --hidden-size ({self.hidden_size}), because the output "
                "matrix is as wide as the embedding"
            )

    @property
    def layout_size(self) -> int:
        """Width of the output of every layer."""
        return self.embed_dim if str(self.layout) == "zero" else self.hidden_size
