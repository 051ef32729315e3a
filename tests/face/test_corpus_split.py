import json
from functools import partial

import pytest
from tiny_corpus import tiny_corpus, write_corpus

from emoicl.training.data.corpus import load_corpus


@pytest.fixture
def split(emoicl):
    """Runs `emoicl corpus split`."""
    return partial(emoicl, "corpus", "split")


@pytest.fixture
def table(tmp_path):
    """Eight speakers; CSV, beside its clips."""
    (tmp_path / "corpus").mkdir()
    return write_corpus(tiny_corpus(num_speakers=8, takes=1), tmp_path / "corpus" / "table.csv")


def test_split(split, table, tmp_path, capsys):
    split(table, "--output", tmp_path / "out", "--validation", "0.25", "--test", "0.25")
    printed = capsys.readouterr().out
    assert printed.split()[:5] == ["split", "gender", "age", "speakers", "clips"]
    assert (
        f"Wrote train.parquet, validation.parquet, test.parquet, split.json and split.txt in {tmp_path / 'out'}."
        in printed
    )
    sizes = [len(load_corpus(tmp_path / "out" / f"{part}.parquet").by_speaker) for part in ("train", "test")]
    assert sizes == [4, 2]


def test_folds(split, table, tmp_path, capsys):
    split(table, "--output", tmp_path / "folds", "--folds", "4", "--seed", "2")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("fold_0: train 5 speakers, ")
    assert "test 2 speakers" in printed[3]
    assert f"{tmp_path / 'folds'}/fold_0 to fold_3" in printed[4]
    split(table, "--output", tmp_path / "alone", "--leave-one-speaker-out")
    assert len(list((tmp_path / "alone").iterdir())) == 8


def test_lists(split, table, tmp_path, capsys):
    lists = {"train": ["ann", "bob", "cy"], "test": ["dee", "zoe"]}
    (tmp_path / "lists.json").write_text(json.dumps(lists))
    options = ("--output", tmp_path / "out", "--speakers", tmp_path / "lists.json")
    with pytest.raises(
        ValueError, match="not in the corpus but in the list: zoe; in the corpus but not in the list: eve"
    ):
        split(table, *options)
    split(table, *options, "--allow-missing")
    printed = capsys.readouterr().out
    assert "Speakers left out: eve, fay, gil, hal." in printed
    assert "Listed, but not in the corpus: zoe." in printed
    assert "Wrote train.parquet, test.parquet, split.json" in printed


@pytest.mark.parametrize(
    "options, message",
    [
        (["--speakers", "lists.csv", "--test", "0.2"], "--speakers gives the parts: it does not go with --test"),
        (["--folds", "3", "--test", "0.2"], "each speaker is tested once: --test"),
        (["--leave-one-speaker-out", "--test", "0.2"], "each speaker is tested once: --test"),
        (["--allow-missing"], "--allow-missing is for --speakers"),
        (["--folds", "0"], "from 2 to 8 folds, not 0"),
        (["--sentence-disjoint"], r"lacks the columns \['sentence_id'\]"),
        (["--stratify", "dialect"], r"lacks the columns \['dialect'\]"),
    ],
)
def test_refusals(split, table, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        split(table, "--output", tmp_path / "out", *options)
