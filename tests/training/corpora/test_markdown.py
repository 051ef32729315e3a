import ast
import re

import pytest
from tiny_corpus import tone

from emoicl.training.corpora.generic import OwnTable
from emoicl.training.corpora.markdown import cells, code, listed, plain, python
from emoicl.training.corpora.prepare import prepare


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("surprise_negative", "surprise_negative"),
        ("base-emogator 1.0 (a)", "base-emogator 1.0 (a)"),
        ("_it_ *bold*", r"\_it\_ \*bold\*"),
        ("a | b", r"a \| b"),
        ("<b>x</b> & y", "&lt;b&gt;x&lt;/b&gt; &amp; y"),
        ("Joy\n\n## Heading", "Joy ## Heading"),
        ("[a](b) `c` \\", r"\[a\](b) \`c\` \\"),
    ],
)
def test_a_text_is_shown_as_it_is(text, shown):
    assert plain(text) == shown
    assert plain(plain(text)) == shown


def test_code_tables_and_lists():
    assert code("a`b\nc|d") == "`a'b c¦d`"
    assert cells(["a|b", plain("c|d"), 3]) == r"| a\|b | c\|d | 3 |"
    assert listed(["*", "b"], "; ") == r"\*; b"


@pytest.mark.parametrize("text", ['a", "label": "b"}]; import os  #', "it's\nhere", "\\", "Überraschung 🙂"])
def test_a_text_is_one_literal_of_python(text):
    assert ast.literal_eval(python(text)) == text


def test_a_dataset_card_shows_what_a_table_holds(tmp_path):
    emotions = ["<script>alert(1)</script>", "{{ format }}", "a | b", "=1+1"]
    lines = ["audio,emotion,speaker_id"]
    for number, emotion in enumerate(emotions):
        (tmp_path / f"{number}.wav").write_bytes(tone(200 + 50 * number))
        lines.append(f"{number}.wav,{emotion},s{number}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    prepare(OwnTable(tmp_path / "table.csv", "mine <b>name"), tmp_path / "out", "parquet")
    card = (tmp_path / "out" / "README.md").read_text().partition("\n---\n")[2]
    assert "# mine &lt;b&gt;name, prepared by emoicl" in card
    assert "{{ format }}" in card and r"| a \| b |" in card and "&lt;script&gt;" in card
    assert not re.search(r"<b>|<script", card)
