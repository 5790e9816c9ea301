"""fairseq-lrn score: its options."""


def test_refused_options(refuse, lm_checkpoints, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    lm = "score", "--model", lm_checkpoints
    assert "is empty: give a file" in refuse(*lm, tmp_path / "empty.txt")
    assert "--max-length has no effect with a language model" in refuse(
        *lm, "--max-length", "5", tmp_path / "empty.txt"
    )
    assert "give a reference, or --model" in refuse("score", tmp_path / "empty.txt")
    message = refuse(*lm, tmp_path / "empty.txt", tmp_path / "empty.txt")
    assert message.endswith("or fairseq-lrn score --model with one file\n")
    for arguments, message in (
        (["--dynamic-lr", "1", tmp_path / "a"], "--dynamic-lr has no effect without"),
        (["--dynamic-evaluation", "a", tmp_path / "a", tmp_path / "b"], "is for language models"),
        # Before anything is scored.
        (
            ["--dynamic-evaluation", "a", "--dynamic-epsilon", "0", tmp_path / "none"],
            "epsilon must be a number above 0, not 0.0",
        ),
        # Options of this command, where sacreBLEU's would be.
        ([tmp_path / "a", "--dynamic-evaluation", "b"], "remove --dynamic-evaluation b, or give"),
        (
            [tmp_path / "a", tmp_path / "b", "--device", "cpu"],
            "remove --device cpu, or give it before",
        ),
    ):
        assert message in refuse(*lm, *arguments)
