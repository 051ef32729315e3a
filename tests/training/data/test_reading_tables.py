import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from emoicl.training.data.table_sources import open_tables
from emoicl.training.data.tables import Table, is_file, read_clip


def test_columns_of_a_csv_file_are_strings(tmp_path):
    (tmp_path / "a.csv").write_text("speaker_id,age\n007,27\nNA,\n")
    table = Table(tmp_path / "a.csv", ["age"])
    assert table.texts("speaker_id") == ["007", "NA"]
    assert table.texts("age") == ["27", ""]
    assert table.texts("gender") == ["", ""]


def test_numbers_are_texts_too(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"age": 27}\n{"age": null}\n')
    assert Table(tmp_path / "a.jsonl").texts("age") == ["27", ""]


def test_class_labels_are_their_names(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["joy", "fear"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"label": [1, 0, -1, None], "age": [27, 0, -1, None]}).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert Table(tmp_path / "a.parquet").texts("label") == ["fear", "joy", "", ""]
    assert Table(tmp_path / "a.parquet").texts("age") == ["27", "0", "-1", ""]
    rows = Table(tmp_path / "a.parquet").rows(["label"])
    assert [row.texts["label"] for row in rows] == ["fear", "joy", "", ""]


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


ROWS = "audio,label\nc1.wav,Anger\nü.wav,Joy\n"


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.csv", ROWS.encode("utf-8-sig")),
        ("a.csv", ROWS.encode("utf-16")),
        ("a.csv", ROWS.encode("utf-16-le")),
        ("a.csv", ROWS.encode("utf-16-be")),
        ("a.CSV", ROWS.replace("\n", "\r\n").encode()),
        ("a.csv", ROWS.replace(",", ";").encode()),
        ("a.csv", b"sep=;\r\n" + ROWS.replace(",", ";").encode()),
        ("a.csv", ROWS.replace(",", "|").encode()),
        ("a.tsv", ROWS.replace(",", "\t").encode()),
        ("a.csv", ROWS.replace(",", "\t").encode("utf-16")),
        ("a.csv", ROWS.replace(",", ", ").replace("Anger", '"Anger"').encode()),
        ("a.csv", ROWS.replace("\n", " \n").replace(",", " ,").encode()),
        ("a.csv", (ROWS.replace("\n", ",,\n") + "\n,,,\n").encode()),
        ("a.json", json.dumps([{"audio": "c1.wav", "label": "Anger"}, {"audio": "ü.wav", "label": "Joy"}]).encode()),
        ("a.json", '{"audio": "c1.wav", "label": "Anger"}\n{"audio": "ü.wav", "label": "Joy"}\n'.encode("utf-16")),
    ],
)
def test_tables_as_spreadsheets_and_programs_write_them(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    table = Table(tmp_path / name, ["audio", "label"])
    assert table.schema.names == ["audio", "label"]
    values = [(row.path, row.texts["label"]) for row in table.rows(["label"])]
    assert values == [("c1.wav", "Anger"), ("ü.wav", "Joy")]


def test_an_encoding_that_is_a_guess_is_told(tmp_path):
    (tmp_path / "a.csv").write_bytes(ROWS.encode("cp1252"))
    with pytest.warns(UserWarning, match="a.csv: byte 26, 0xfc, is not UTF-8; it is read as Windows-1252"):
        assert Table(tmp_path / "a.csv").texts("audio") == ["c1.wav", "ü.wav"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", b"", "it has no header"),
        ("a.csv", b"audio,label\na.wav,joy,sad\n", "line 2 has 3 values where the header has 2, separated by ','"),
        ("a.csv", b"audio,label\na.wav\n", "line 2 has 1 values"),
        ("a.csv", b'audio,label\n"a.wav,joy\n', "unexpected end of data"),
        ("a.csv", b"audio,label,label\na.wav,joy,sad\n", "a column occurs more than once"),
        ("a.csv", b"audio,duration\na.wav,long\n", "duration is a number in every row"),
        ("a.csv", b"PK\x03\x04\x14\x00\x08\x00\x08\x00", "it is no text, whatever its name"),
        ("a.csv", b"audio,label\n\x81\xff,joy\n", "byte 13, 0x81, is not UTF-8, nor is the file UTF-16 or Windows"),
        ("a.csv", b"\xff\xfea", "utf-16"),
        ("a.json", b"[1, 2]", "a list of something else than objects"),
        ("a.json", b'[{"audio": 1}', "delimiter"),
        ("a.xlsx", b"PK", "a table is a .parquet, .jsonl, .csv, .tsv, .json file"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_what_was_found(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        Table(tmp_path / name)


def test_paths_as_windows_writes_them(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.wav").write_bytes(b"content")
    (tmp_path / "a.csv").write_text("audio\nx\\a.wav\n")
    assert [read_clip(row.clip) for row in Table(tmp_path / "a.csv").rows([])] == [b"content"]


def test_tables_of_a_folder_beside_its_settings(tmp_path):
    (tmp_path / "a.CSV").write_text("text\nhello\n")
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "files.tsv").write_text("file\n1\n")
    assert [table.path.name for table in open_tables([tmp_path])] == ["a.CSV"]


def test_a_parquet_file_that_is_damaged_in_its_rows(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"text": ["hello"] * 500}), path, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.parquet: cannot be read as parquet: [^\n]*$"):
        list(Table(path).rows(["text"]))


def test_a_path_that_is_no_text_or_no_path(tmp_path):
    for number, audio in enumerate(({"path": 0.5}, {"path": ["a"]}, 7)):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(json.dumps({"audio": audio}))
        with pytest.raises(ValueError, match=f"{number}.jsonl: audio is of type .*; it should be bytes, a path"):
            list(Table(path).rows([]))
    (tmp_path / "a.csv").write_text(f"audio\n\\{'x' * 5000}\n")
    clip = next(Table(tmp_path / "a.csv").rows([])).clip
    assert isinstance(clip, Path) and not is_file(clip)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="deep.json: cannot be read as json: maximum recursion"):
        Table(tmp_path / "deep.json")
