"""fairseq's decoders do not say by which matrix they multiply features.

The fused loss needs this matrix and the features. The patches give fairseq's transformer and lstm
the methods that our decoders have: ``output_table`` (see
:class:`fairseq_lrn.models.base.RecurrentDecoder`), and the lstm ``batch_features``, because its
``forward`` has no ``features_only``.
"""

from typing import Any, Callable, Dict, Optional, Tuple

from torch import Tensor

from fairseq_lrn.modules.output_table import plain_output_table


def patch_output_layers() -> None:
    """Add the methods that the fused loss calls to fairseq's decoders."""
    from fairseq.models.lstm import LSTMDecoder, LSTMModel
    from fairseq.models.transformer import TransformerDecoderBase

    def transformer_table(self) -> Tuple[Optional[Tensor], str]:
        projection = getattr(self, "output_projection", None)
        return plain_output_table(self, TransformerDecoderBase.output_layer, projection)

    def lstm_table(self) -> Tuple[Optional[Tensor], str]:
        # Without a shared matrix there may be two layers, and the last one has a bias.
        projection = self.embed_tokens if self.share_input_output_embed else None
        return plain_output_table(self, LSTMDecoder.output_layer, projection)

    def batch_features(self) -> Optional[Callable[[Dict[str, Any]], Tuple[Tensor, Any]]]:
        return _lstm_features(self) if type(self).forward is LSTMModel.forward else None

    TransformerDecoderBase.output_table = transformer_table
    LSTMDecoder.output_table = lstm_table
    LSTMModel.batch_features = batch_features


def _lstm_features(model) -> Callable[[Dict[str, Any]], Tuple[Tensor, Any]]:
    def features(net_input: Dict[str, Any]) -> Tuple[Tensor, Any]:
        # The two passes of R-Drop, one behind the other, are not sorted by length.
        encoder_out = model.encoder(
            net_input["src_tokens"], src_lengths=net_input["src_lengths"], enforce_sorted=False
        )
        prev_output_tokens = net_input["prev_output_tokens"]
        return model.decoder.extract_features(prev_output_tokens, encoder_out=encoder_out)

    return features
