import sys

import pyarrow.parquet
import pytest
from datasets import load_dataset
from tiny_corpus import tone

from emoicl.training.corpora.readers import CORPORA


@pytest.fixture
def recordings(tmp_path):
    for seed, name in enumerate(("ann/Happy/1.wav", "ann/Fear/2.wav", "bob/Happy/3.wav")):
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tone(200.0, seed=seed))
    return tmp_path / "recordings"


def test_list(emoicl, capsys):
    emoicl("corpus", "list")
    printed = capsys.readouterr().out
    for name, reader in CORPORA.items():
        line = next(line for line in printed.splitlines() if line.startswith(f"{name} "))
        assert reader.license in line and reader.homepage in line


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_prepare(emoicl, recordings, tmp_path, capsys, format):
    output = tmp_path / "out"
    emoicl(
        *("corpus", "prepare", "generic", "--source", recordings, "--output", output, "--format", format),
        *("--map-labels", "happy=joy", "--workers", "2", "--corpus-name", "mine"),
    )
    printed = capsys.readouterr().out
    assert "mine: 3 of 3 listed clips prepared, 2 speakers" in printed
    assert "(Happy: 2)" in printed and f"{output}/data/*.{format}" in printed
    assert list((output / "data").glob(f"*.{format}"))


def test_prepare_a_hub_dataset(emoicl, recordings, tmp_path, capsys, monkeypatch):
    emoicl("corpus", "prepare", "generic", "--source", recordings, "--output", tmp_path / "mine")
    hub = load_dataset(str(tmp_path / "mine"), cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.load_dataset", lambda name, split: hub[split] if name == "someone/speech" else None)
    out = tmp_path / "out"
    emoicl("corpus", "prepare", "generic", "--source", "someone/speech:train", "--output", out)
    assert "speech: 3 of 3 listed clips prepared, 2 speakers" in capsys.readouterr().out
    emoicl("corpus", "inspect", "someone/speech:train")
    assert "3 clips" in capsys.readouterr().out
    emoicl("corpus", "split", "someone/speech:train", "--output", tmp_path / "split", "--validation", "0")
    assert pyarrow.parquet.read_metadata(tmp_path / "split" / "train.parquet").num_rows


def test_a_hub_dataset_of_single_files_names_the_package_that_reads_it(emoicl, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec.encoders", None)
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "one.wav").write_bytes(tone(200.0))

    def fetch(name, split):
        return load_dataset(str(tmp_path / "speech"), split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr("datasets.load_dataset", fetch)
    with pytest.raises(ValueError, match="someone/speech: .* cannot be had: .*install 'torchcodec'"):
        emoicl("corpus", "prepare", "generic", "--source", "someone/speech", "--output", tmp_path / "out")


def test_prepare_names_what_is_missing(emoicl, tmp_path):
    (tmp_path / "ravdess" / "Actor_01").mkdir(parents=True)
    (tmp_path / "ravdess" / "Actor_01" / "03-01-08-02-02-02-01.wav").write_bytes(tone(200.0))
    with pytest.raises(ValueError, match="1439 missing .Actor_01/03-01-01-01-01-01-01.wav, .*report.txt"):
        emoicl("corpus", "prepare", "ravdess", "--source", tmp_path / "ravdess", "--output", tmp_path / "out")
    assert "Actor_24/03-01-08-02-02-02-24.wav" in (tmp_path / "out" / "report.txt").read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing"], "No corpus is called 'nothing'; there are"),
        (["ravdess"], "--source: where is RAVDESS .* comes from https://zenodo.org"),
        (["generic"], "--source: where is it. A table, a folder, or a data set of the Hub"),
        (["generic", "--source", "{recordings}", "--map-labels", "happy"], "pairs such as a=b, not 'happy'"),
        (["generic", "--source", "{recordings}", "--map-labels", "sad=sadness"], "has no label sad to map"),
        (["ravdess", "--source", "{recordings}"], "no audio file here or below has a name of RAVDESS"),
        (["ravdess", "--source", "{recordings}", "--workers", "0"], "--workers is at least 1"),
    ],
)
def test_prepare_refuses(emoicl, recordings, tmp_path, arguments, message):
    arguments = [argument.format(recordings=recordings) for argument in arguments]
    with pytest.raises(ValueError, match=message):
        emoicl("corpus", "prepare", *arguments, "--output", tmp_path / "out")
