"""A web page to try a trained model: ``fairseq-lrn serve``."""
