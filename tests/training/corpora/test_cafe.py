"""The complete design of CaFE, in folders with accents of several kinds."""

from collections import Counter
from unicodedata import normalize

import pyarrow.parquet
import pytest
from tiny_files import write_clips

from emoicl.training.corpora.base import Recording
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers.cafe import Cafe
from emoicl.training.data.corpus import load_corpus


def test_design(tmp_path):
    write_clips(tmp_path, ["Joie/Fort/02-J-2-3.wav"])
    recordings = {recording.source_id: recording for recording in Cafe(tmp_path).recordings()}
    assert len(recordings) == 936
    counts = Counter((recording.native_label, recording.intensity) for recording in recordings.values())
    assert counts == {(label, level): 72 for label in "CDJPST" for level in ("low", "high")} | {("N", ""): 72}
    assert recordings["02-J-2-3"] == Recording(
        "Joie/Fort/02-J-2-3.wav",
        speaker_id="02",
        native_label="J",
        sentence_id="3",
        intensity="high",
        gender="female",
        age="64",
        text="Trois cygnes aveugles au bord du lac",
    )
    assert recordings["11-N-6"].path == "Neutre/11-N-6.wav"
    assert recordings["11-N-6"].gender == "male"
    # Not there, and so named by its composed form.
    assert recordings["01-D-1-1"].path == normalize("NFC", "Dégoût/Faible/01-D-1-1.wav")


@pytest.mark.parametrize(
    "path",
    [
        normalize("NFC", "Colère/Faible/01-C-1-1.wav"),
        normalize("NFD", "Colère/Faible/01-C-1-1.wav"),
        "Col├¿re/Faible/01-C-1-1.wav",
        "CaFE_192k_1/Colère/Faible/01-C-1-1.aiff",
    ],
)
def test_clips_are_found_by_name(tmp_path, path):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    paths = [recording.path for recording in Cafe(tmp_path).recordings() if recording.source_id == "01-C-1-1"]
    # A file system may compose accents, so that the listed name is compared.
    assert [normalize("NFC", name) for name in paths] == [normalize("NFC", path)]
    assert (tmp_path / paths[0]).is_file()


def test_prepared(tmp_path):
    names = [normalize("NFD", "Dégoût/Fort/04-D-2-2.wav"), "Neutre/05-N-1.wav", "Neutre/05-N-1-1.wav"]
    write_clips(tmp_path / "cafe", names)
    report = prepare(Cafe(tmp_path / "cafe"), tmp_path / "out", allow_missing=True)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "data").to_pylist()
    assert {row["source_id"]: row["emotion"] for row in rows} == {"04-D-2-2": "disgust", "05-N-1": "neutral"}
    # Neutral has no intensity.
    assert list(report.findings["unlisted"]) == ["Neutre/05-N-1-1.wav"]
    assert len(report.findings["missing"]) == 934
    assert len(load_corpus(sorted((tmp_path / "out" / "data").glob("*.parquet")))) == 2
