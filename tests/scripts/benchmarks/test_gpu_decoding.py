"""Timing the search of several models, on the CPU."""

from benchmarks import gpu_decoding, operator_speed


def test_measure(untrained, prepared_data, monkeypatch):
    monkeypatch.setattr(operator_speed, "TURN_SECONDS", 1e-4)
    lengths, sizes = set(), set()
    monkeypatch.setattr(gpu_decoding, "LENGTH", 5)
    translator = gpu_decoding._translator

    def recorded(task, model, samples):
        sizes.update(sample["nsentences"] for sample in samples)
        search, task.inference_step = task.inference_step, None

        def inference_step(*args):
            found = search(*args)
            lengths.update(len(best["tokens"]) for best, *_ in found)
            return found

        task.inference_step = inference_step
        return translator(task, model, samples)

    monkeypatch.setattr(gpu_decoding, "_translator", recorded)
    path = str(untrained / "checkpoint_best.pt")
    found = gpu_decoding.measure(
        str(prepared_data), {"a": path, "b": path}, "cpu", rounds=1, batches={1: 2, 3: 1}
    )
    found = list(found)
    assert [(one.batch, one.model) for one in found] == [(1, "a"), (1, "b"), (3, "a"), (3, "b")]
    assert all(one.speed > 0 for one in found)
    assert sizes == {1, 3} and lengths == {6}  # with the end of sentence
