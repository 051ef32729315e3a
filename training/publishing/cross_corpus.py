"""What `emoicl matrix` measured of a checkpoint, kept beside its weights for the card."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, TypedDict

from emoicl.training.publishing.checkpoint import MODEL_FILES, PROCESSOR_FILES
from emoicl.training.publishing.provenance import MATRIX_NAME
from emoicl.training.publishing.schema import as_declared, read_json


class CellRow(TypedDict):
    """What is read of a condition on a corpus."""

    shots: int
    control: Literal["rotated", "other_speaker", "unlabeled"] | None
    ua_spk: float
    min: float
    nll: float
    ece: float


class CellReport(TypedDict):
    """What is read of a checkpoint on a corpus."""

    num_utterances: int
    rows: list[CellRow]


class Cell(TypedDict):
    """A checkpoint on a corpus, and whether it was trained on it."""

    system: str
    corpus: str
    mark: Literal["", "*", "!", "?"]
    report: CellReport


class MatrixSystem(TypedDict):
    """A row of a matrix."""

    name: str
    identity: str


class Matrix(TypedDict):
    """What is read of `matrix.json`: of all systems, or beside a checkpoint of this one."""

    setting: str
    seeds: list[int]
    systems: list[MatrixSystem]
    cells: list[Cell]


def checkpoint_identity(checkpoint: str | Path) -> str:
    """Identity of all files of a checkpoint that its answers hang on, or of its Hub name, in hexadecimal digits."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return hashlib.sha256(str(checkpoint).encode()).hexdigest()
    files = [path for pattern in (*MODEL_FILES, *PROCESSOR_FILES) for path in sorted(folder.glob(pattern))]
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def save_matrix(matrix: str | Path, checkpoint: str | Path) -> None:
    """
    Puts what a matrix has of a checkpoint beside its weights, without anything of single speakers.

    Args:
        matrix (`str` or `Path`): Folder that `emoicl matrix` wrote.
        checkpoint (`str` or `Path`): Folder of the checkpoint.

    Raises:
        `ValueError`: If it has no row of this checkpoint, as it is now.
    """
    path = Path(matrix) / MATRIX_NAME
    content: Matrix = as_declared(read_json(path, Matrix), Matrix)
    own = [system for system in content["systems"] if system["identity"] == checkpoint_identity(checkpoint)][:1]
    if not own:
        names = ", ".join(system["name"] for system in content["systems"]) or "none"
        raise ValueError(
            f"{path}: has no row of {checkpoint} as it is now, but of {names}. `emoicl matrix --models` measures it."
        )
    # What a row is called is a path as often as not.
    name = Path(checkpoint).resolve().name
    cells: list[Cell] = [{**cell, "system": name} for cell in content["cells"] if cell["system"] == own[0]["name"]]
    kept: Matrix = {**content, "systems": [{**own[0], "name": name}], "cells": cells}
    (Path(checkpoint) / MATRIX_NAME).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def describe_matrix(checkpoint: str | Path) -> dict[str, Any] | None:
    """
    What a card tells of a checkpoint on each corpus.

    Args:
        checkpoint (`str` or `Path`): Folder of the checkpoint, which may have a `matrix.json`.

    Returns:
        `dict`: `setting`, `num_draws`, `shots`, and `corpora` with a `title`, its `mark`, `num_utterances`, the `rows`
            by the number of shots, that with `rotated` labels and that with the most shots. None without the file.

    Raises:
        `ValueError`: If the file is damaged, or has a corpus without a row.
    """
    path = Path(checkpoint) / MATRIX_NAME
    if not path.is_file():
        return None
    content: Matrix = read_json(path, Matrix)
    corpora = []
    for cell in content["cells"]:
        own = {row["shots"]: row for row in cell["report"]["rows"] if row["control"] is None}
        if not own:
            raise ValueError(f"{path}: has no row without a control of {cell['corpus']}.")
        rotated = [row for row in cell["report"]["rows"] if row["control"] == "rotated"]
        corpora.append(
            {
                "name": cell["corpus"],
                "mark": cell["mark"],
                "num_utterances": cell["report"]["num_utterances"],
                "rows": own,
                "rotated": rotated[0] if rotated else None,
                "most": own[max(own)],
            }
        )
    return {
        "setting": content["setting"],
        "num_draws": len(content["seeds"]),
        "shots": sorted({shots for corpus in corpora for shots in corpus["rows"]}),
        "corpora": corpora,
    }
