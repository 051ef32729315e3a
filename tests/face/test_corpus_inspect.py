import pytest
from tiny_corpus import tiny_corpus, write_corpus


@pytest.fixture
def table(tmp_path):
    (tmp_path / "tables").mkdir()
    return write_corpus(tiny_corpus(num_speakers=2, takes=1), tmp_path / "tables" / "tiny.csv")


def test_inspect_prints_and_writes(emoicl, table, tmp_path, capsys):
    emoicl("corpus", "inspect", table, "--output", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "of 2 speakers" in printed and "## Enrollment" in printed and "TE+LD" in printed
    assert "tiny: neither sentence_id nor text is given" in printed
    assert f"to {tmp_path / 'out'}." in printed
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"report.md", "report.json", "counts.png", "durations.png", "enrollment.png"}


def test_inspect_a_folder_without_writing(emoicl, table, capsys):
    before = sorted(table.parent.iterdir())
    emoicl("corpus", "inspect", table.parent)
    assert "of 2 speakers" in capsys.readouterr().out
    assert sorted(table.parent.iterdir()) == before


def test_inspect_refuses(emoicl, table, tmp_path):
    with pytest.raises(ValueError, match="--workers is at least 1"):
        emoicl("corpus", "inspect", table, "--workers", 0)
    with pytest.raises(ValueError, match="nothing.csv"):
        emoicl("corpus", "inspect", tmp_path / "nothing.csv")
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "report.txt").touch()
    with pytest.raises(ValueError, match="prepared corpus .* name another folder"):
        emoicl("corpus", "inspect", table, "--output", tmp_path / "prepared")
