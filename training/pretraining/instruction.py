"""Instruction tuning: triples of instruction, input and output, given or made of the columns of a corpus."""

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import yaml
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from emoicl.training.data.corpus import display_label
from emoicl.training.data.tables import Table


TEMPLATES = Path(__file__).with_name("templates.yaml")
# Columns that a sentence can be made of. The others (file names, speakers) mean nothing in words.
COLUMNS = ("text", "emotion", "gender", "language", "age")
CHOICES = ("emotion", "gender", "language")
# With fewer words, neither half of a sentence tells anything of the other.
FEWEST_WORDS = 4


@dataclass(frozen=True)
class Triple:
    """
    What a language model is told, what it is given, and what it should answer.

    Args:
        instruction (`str`): The task, in words.
        input (`str`): What the task is about; may be empty.
        output (`str`): The answer.
    """

    instruction: str
    input: str
    output: str

    @property
    def prompt(self) -> str:
        return f"{self.instruction} {self.input}".strip()


def read_triples(paths: Iterable[str | Path], seed: int = 0) -> list[Triple]:
    """
    Reads triples from tables that have them as the columns `instruction`, `input` and `output`, and makes them of all
    other tables by the templates of `templates.yaml`.

    Args:
        paths (`Iterable[str | Path]`): `.parquet`, `.jsonl` or `.csv` files.
        seed (`int`, *optional*, defaults to 0): Seed of the order of the choices in an instruction.

    Returns:
        `list[Triple]`: Each triple once, in the order of the tables, their rows and the templates.

    Raises:
        `ValueError`: If a table cannot be read, a triple lacks its instruction or its output, or a table gives no
            triple.
    """
    triples: list[Triple] = []
    for path in paths:
        table = Table(path)
        names = table.schema.names
        found = given_triples(table) if {"instruction", "output"} <= set(names) else made_triples(table, seed)
        if not found:
            raise ValueError(
                f"{path}: no instruction can be made of the columns {names}. Give the columns "
                f"instruction, input and output, or some of {', '.join(COLUMNS)}."
            )
        triples += found
    return list(dict.fromkeys(triples))


def given_triples(table: Table) -> list[Triple]:
    columns = map(table.texts, ("instruction", "input", "output"))
    triples = [Triple(*row) for row in zip(*columns, strict=True)]
    for number, triple in enumerate(triples, start=1):
        if not (triple.instruction and triple.output):
            raise ValueError(f"{table.path}: row {number} lacks its instruction or its output. Complete or remove it.")
    return triples


def made_triples(table: Table, seed: int) -> list[Triple]:
    templates = [Triple(**template) for template in yaml.safe_load(TEMPLATES.read_text())]
    columns = {name: table.texts(name) for name in COLUMNS}
    values = {name: sorted(set(map(display_label, columns[name])) - {""}) for name in CHOICES}
    rows = ({name: column[row] for name, column in columns.items()} for row in range(table.num_rows))
    return [
        triple
        for number, row in enumerate(rows)
        for triple in fill_in(templates, slots(row, values, np.random.default_rng((seed, number))))
    ]


def slots(row: Mapping[str, str], values: Mapping[str, Sequence[str]], rng: np.random.Generator) -> dict[str, str]:
    """What may stand in a template for a row: only what is known of it."""
    filled = {name: value for name, value in row.items() if value}
    for name, of_corpus in values.items():
        order = rng.permutation(len(of_corpus))
        # With one value there is nothing to choose.
        if name in filled and len(of_corpus) > 1:
            filled[f"{name}_choices"] = ", ".join(of_corpus[int(index)] for index in order)
            filled[f"{name}_label"] = display_label(filled[name])
            filled[name] = filled[f"{name}_label"].lower()
    words = row["text"].split()
    if len(words) >= FEWEST_WORDS:
        half = len(words) // 2
        filled["text_beginning"], filled["text_end"] = " ".join(words[:half]), " ".join(words[half:])
        filled["last_word"], filled["num_words"] = words[-1], str(len(words))
    return filled


def fill_in(templates: Iterable[Triple], filled: Mapping[str, str]) -> list[Triple]:
    """The templates of which every slot is filled."""
    return [
        Triple(*(part.format(**filled) for part in astuple(template)))
        for template in templates
        if needed(template) <= set(filled)
    ]


def needed(template: Triple) -> set[str]:
    """Names of the slots of a template."""
    return {name for part in astuple(template) for _, name, _, _ in string.Formatter().parse(part) if name}


class InstructionDataset(Dataset[dict[str, list[int]]]):
    """
    Triples as the inputs and the labels of an encoder-decoder language model.

    Args:
        triples (`Sequence[Triple]`): The triples.
        tokenizer (`PreTrainedTokenizerBase`): A tokenizer that ends each text with the end-of-sequence token.
        max_length (`int`, *optional*, defaults to 512): Largest number of tokens of a prompt or an answer.

    Raises:
        `ValueError`: If a prompt or an answer is longer.
    """

    def __init__(self, triples: Sequence[Triple], tokenizer: PreTrainedTokenizerBase, max_length: int = 512):
        self.prompts = tokenizer([triple.prompt for triple in triples])["input_ids"]
        self.answers = tokenizer([triple.output for triple in triples])["input_ids"]
        for triple, *texts in zip(triples, self.prompts, self.answers, strict=True):
            longest = max(map(len, texts))
            if longest > max_length:
                raise ValueError(
                    f"The prompt {triple.prompt[:60]!r} or its answer has {longest} tokens; the most are {max_length}."
                )

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, item: int) -> dict[str, list[int]]:
        return {"input_ids": self.prompts[item], "labels": self.answers[item]}
