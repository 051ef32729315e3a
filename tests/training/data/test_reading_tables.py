import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from emoicl.training.data.tables import Table, open_tables, read_clip


def test_columns_of_a_csv_file_are_strings(tmp_path):
    (tmp_path / "a.csv").write_text("speaker_id,age\n007,27\nNA,\n")
    table = Table(tmp_path / "a.csv", ["age"])
    assert table.texts("speaker_id") == ["007", "NA"]
    assert table.texts("age") == ["27", ""]
    assert table.texts("gender") == ["", ""]


def test_numbers_are_texts_too(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"age": 27}\n{"age": null}\n')
    assert Table(tmp_path / "a.jsonl").texts("age") == ["27", ""]


def test_rows_of_every_format(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"content")
    rows = [{"audio": "x.wav", "speaker_id": " 007 "}, {"audio": "", "speaker_id": "NA"}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "a.csv").write_text("audio,speaker_id\nx.wav, 007 \n,NA\n")
    for suffix in ("parquet", "jsonl", "csv"):
        first, second = Table(tmp_path / f"a.{suffix}", ["audio"]).rows(["speaker_id", "text"])
        assert first == (1, tmp_path / "x.wav", "x.wav", {"speaker_id": "007", "text": ""})
        assert read_clip(first.clip) == b"content"
        assert second == (2, None, "", {"speaker_id": "NA", "text": ""})
        with pytest.raises(ValueError, match="neither bytes nor a path"):
            read_clip(second.clip)


def test_a_column_that_is_no_text_is_named(tmp_path):
    pyarrow.parquet.write_table(pa.table({"text": [[1, 2]]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="a.parquet: text is of type list.*; it should be text"):
        Table(tmp_path / "a.parquet").texts("text")


def test_a_table_that_is_named_twice_is_read_once(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("b.csv", "a.csv", ".hidden.csv"):
        (tmp_path / "data" / name).write_text("text\nhello\n")
    tables = open_tables([tmp_path, tmp_path / "data" / "a.csv"], ["text"])
    assert [table.path.name for table in tables] == ["a.csv", "b.csv"]
