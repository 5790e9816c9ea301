"""``--diverse-beam-groups`` goes on with finished hypotheses, and mixes up sentences of a batch.

fairseq-fixed (0.12.3) considers as many candidates as there are hypotheses. If some of them end,
too few are left, and the search extends those that have ended: translations contain ``</s>``. It
also looks up how much the groups of a sentence overlap by the sentence's number in the data set,
where its row in the batch is meant: it takes another sentence's overlap, or fails. fairseq 0.12.2
does neither.

The patch considers twice as many candidates, as plain beam search does, and finds the row.
"""

from fairseq_lrn.compat.patching import patch

CANDIDATES = 2  # of each hypothesis
ARGUMENTS = 5  # of the constructor; the last one is the number of candidates


def patch_diverse_beams() -> None:
    """Repair fairseq's diverse beam search."""
    from fairseq.search import DiverseBeamSearch

    def build_init(original):
        def __init__(self, *args, **kwargs):
            original(self, *args, **kwargs)
            if len(args) < ARGUMENTS and "candidate_multiple" not in kwargs:
                self.candidate_multiple = CANDIDATES

        return __init__

    def build_step(original):
        def step(self, step, lprobs, scores, prev_output_tokens=None, original_batch_idxs=None):
            if original_batch_idxs is not None:
                if step == 0:
                    self.sentences = original_batch_idxs
                same = original_batch_idxs.unsqueeze(1) == self.sentences.unsqueeze(0)
                original_batch_idxs = same.int().argmax(1)
            return original(self, step, lprobs, scores, prev_output_tokens, original_batch_idxs)

        return step

    patch(DiverseBeamSearch, "__init__", build_init)
    patch(DiverseBeamSearch, "step", build_step)
