"""Text in and out: reading, tokenisation, subwords, preparing data for training."""
