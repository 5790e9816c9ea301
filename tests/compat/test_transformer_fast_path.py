"""fairseq's transformer encoders in evaluation, with padding on the left."""

import torch

from fairseq_lrn.compat.transformer_fast_path import patch_transformer_fast_path


def test_padding_on_the_left(builders):
    """A loaded encoder reads a padded batch, and gives each sentence the same output as alone."""
    patch_transformer_fast_path()  # applied already
    model = builders["transformer_lrn"]().eval()
    model.load_state_dict(model.state_dict())
    encoder, pad = model.encoder, model.encoder.padding_idx
    tokens = torch.tensor([[pad, pad, 5, 6, 2], [7, 8, 9, 6, 2]])
    with torch.no_grad():
        together = encoder(tokens, torch.tensor([3, 5]))["encoder_out"][0]
        alone = encoder(tokens[:1, 2:], torch.tensor([3]))["encoder_out"][0]
    torch.testing.assert_close(together[2:, :1], alone, rtol=1e-4, atol=1e-5)
