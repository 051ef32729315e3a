import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from emoicl.training.pretraining.texts import read_texts


def test_texts_of_every_kind_of_file(tmp_path):
    pyarrow.parquet.write_table(pa.table({"text": ["parquet", None, ""], "x": [1, 2, 3]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "json\nl"}) + "\n")
    (tmp_path / "c.csv").write_text("speaker_id,text\n007, csv \n")
    (tmp_path / "d.txt").write_text("line\n\n  zażółć \n", encoding="utf-8")
    paths = [tmp_path / name for name in ("a.parquet", "b.jsonl", "c.csv", "d.txt")]
    assert read_texts(paths) == ["parquet", "json\nl", "csv", "line", "zażółć"]


def test_a_text_that_occurs_again_is_left_out(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("one\ntwo\none\n one\n")
    with caplog.at_level("INFO"):
        assert read_texts([tmp_path / "a.txt"]) == ["one", "two"]
    assert "Left out 2 texts" in caplog.text


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "audio\nx.wav\n", r"a.csv: lacks the columns \['text'\]; it has \['audio'\]"),
        ("a.csv", "text\n", "a.csv: the table has no rows"),
        ("a.parquet", "no parquet", "a.parquet: cannot be read as parquet"),
        ("a.jsonl", "{", "a.jsonl: cannot be read as jsonl"),
        ("a.txt", "\n  \n", "There is no text in .*a.txt"),
    ],
)
def test_mistaken_files(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_texts([tmp_path / name])


@pytest.mark.parametrize("name", ["none.csv", "none.txt"])
def test_files_that_are_not_there(tmp_path, name):
    with pytest.raises(ValueError, match="none.*(no such file|No such file)"):
        read_texts([tmp_path / name])
