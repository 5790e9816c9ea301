"""Looking at training runs and at what a trained model keeps of a sentence."""
