"""The ``torch.library`` handle through which every operator of this package is defined."""

import torch

LIBRARY = torch.library.Library("fairseq_lrn", "DEF")
