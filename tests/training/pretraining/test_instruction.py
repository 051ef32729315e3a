import json
import re

import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from emoicl.training.pretraining.instruction import TEMPLATES, InstructionDataset, Triple, read_triples
from emoicl.training.pretraining.tokenizer import train_unigram_tokenizer


@pytest.fixture
def corpus(tmp_path):
    """A table with a full row, one with a short text alone, and one with nothing but an emotion."""
    columns = {
        "text": ["Kids are talking by the door.", "Go away!", ""],
        "emotion": ["joy", "", "surprise_negative"],
        "gender": ["female", None, ""],
        "age": [27, None, None],
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


def test_triples_made_of_a_corpus(corpus):
    choose, *others = read_triples([corpus])
    assert re.fullmatch(
        r"Please select the appropriate emotion for the input from the following: "
        r"(Joy, Surprise negative|Surprise negative, Joy)\.",
        choose.instruction,
    )
    assert (choose.input, choose.output) == ("The emotion of the voice is joy.", "Joy")
    # Of one gender there is nothing to choose.
    assert others[:-2] == [
        Triple("Please write the number that is in the input.", "The speaker is 27 years old.", "27"),
        Triple("Please repeat the input.", "Kids are talking by the door.", "Kids are talking by the door."),
        Triple("Please complete the sentence.", "Kids are talking", "by the door."),
        Triple("Please write the last word of the input.", "Kids are talking by the door.", "door."),
        Triple("How many words does the input have?", "Kids are talking by the door.", "6"),
    ]
    assert others[-2] == Triple("Please repeat the input.", "Go away!", "Go away!")
    assert (others[-1].input, others[-1].output) == (
        "The emotion of the voice is surprise negative.",
        "Surprise negative",
    )


def test_choices_change_their_order(tmp_path):
    rows = pa.table({"emotion": ["joy", "sadness", "anger"] * 20})
    pyarrow.parquet.write_table(rows, tmp_path / "corpus.parquet")
    triples = read_triples([tmp_path / "corpus.parquet"])
    assert len({triple.instruction for triple in triples}) == 6
    assert triples == read_triples([tmp_path / "corpus.parquet"])
    assert triples != read_triples([tmp_path / "corpus.parquet"], seed=1)


def test_no_task_goes_from_a_sentence_to_a_speaker_or_an_emotion():
    for template in yaml.safe_load(TEMPLATES.read_text()):
        answer = re.findall(r"{(\w+?)(?:_label)?}", template["output"])[0]
        if answer in ("emotion", "gender", "language", "age"):
            assert f"{{{answer}}}" in template["input"]
            assert "{text" not in template["input"]


def test_triples_that_are_given(tmp_path):
    rows = [{"instruction": "Add.", "input": "1 2", "output": "3"}, {"instruction": "Greet.", "output": "Hello"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    triples = read_triples([tmp_path / "a.jsonl"])
    assert triples == [Triple("Add.", "1 2", "3"), Triple("Greet.", "", "Hello")]
    assert [triple.prompt for triple in triples] == ["Add. 1 2", "Greet."]


@pytest.mark.parametrize(
    "content, message",
    [
        ("instruction,output\nAdd.,\n", "row 1 lacks its instruction or its output"),
        ("audio\nx.wav\n", r"no instruction can be made of the columns \['audio'\]"),
    ],
)
def test_mistaken_tables(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_triples([tmp_path / "a.csv"])


def test_triples_as_tokens():
    tokenizer = train_unigram_tokenizer(["Add one. 1 2 3"], 400)
    dataset = InstructionDataset([Triple("Add one.", "1", "2"), Triple("Add one.", "2", "3")], tokenizer)
    assert len(dataset) == 2
    example = dataset[1]
    assert tokenizer.decode(example["input_ids"]) == "Add one. 2</s>"
    assert tokenizer.decode(example["labels"]) == "3</s>"
    with pytest.raises(ValueError, match="The prompt 'Add one. 1' or its answer has .* tokens; the most are 2"):
        InstructionDataset([Triple("Add one.", "1", "2")], tokenizer, max_length=2)
