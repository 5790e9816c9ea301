"""Text in and out: preparing corpora, the quick start's corpus, detokenising output."""
