"""Analysis of training runs, and of how much a trained model keeps of a sentence."""
