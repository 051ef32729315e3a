"""Each system on each corpus, also those that it was not made for: the cross-corpus matrix."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emoicl.modeling.familiarity_emoicl import UNFAMILIAR
from emoicl.training.corpora.markdown import plain
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.writing import sole_writer, write_aside
from emoicl.training.episodes.enrollment import max_shots
from emoicl.training.evaluation.evaluate import ALL_CONTROLS, evaluate
from emoicl.training.evaluation.recognition import Recognizer
from emoicl.training.evaluation.reports import Condition, condition_name
from emoicl.training.evaluation.trust import COVERAGES, auroc
from emoicl.training.publishing.cards import corpora_of
from emoicl.training.publishing.cross_corpus import checkpoint_identity
from emoicl.training.publishing.provenance import (
    MATRIX_NAME,
    Provenance,
    find_provenance,
    speaker_digest,
    with_digests,
)
from emoicl.training.publishing.schema import read_json


logger = logging.getLogger(__name__)

# Of a cell's file: what an older version measured is measured again.
FORMAT = 2
SETTING = "TU+LD"
SHOTS = (0, 1, 2, 3, 5, 7)
METRICS = {"ua_spk": "UA_spk", "nll": "negative log-likelihood", "ece": "calibration error"}
MARKS = (
    "\\* trained on other speakers of this corpus; ! trained on some of these speakers; ? its training is not known"
)


@dataclass(frozen=True)
class System:
    """
    A row of the matrix.

    Args:
        name (`str`): What it is called.
        identity (`str`): Differs where its answers may: what was measured of another is not its own.
        load (`Callable`): Gives the [`Recognizer`]. Called only if something is left to measure.
        trained_on (`frozenset[str]`): Names of the corpora that it was trained on.
        heard (`frozenset[str]`): Digests of the speakers that it has heard, see [`speaker_digest`].
        is_known (`bool`): Whether this is all of its training.
    """

    name: str
    identity: str
    load: Callable[[], Recognizer]
    trained_on: frozenset[str] = field(default_factory=frozenset)
    heard: frozenset[str] = field(default_factory=frozenset)
    is_known: bool = True


def checkpoint_system(name: str, checkpoint: str, load: Callable[[], Recognizer]) -> System:
    """
    A checkpoint as a row; its provenance tells what it was trained on.

    Args:
        name (`str`): What it is called.
        checkpoint (`str`): Folder or Hub name. A folder's files are its identity, a Hub name is its own.
        load (`Callable`): Gives the [`Recognizer`].
    """
    path = find_provenance(checkpoint)
    provenance = Provenance(is_complete=False) if path is None else Provenance.load(path)
    return System(
        name,
        checkpoint_identity(checkpoint),
        load,
        frozenset(corpora_of(provenance, "training")),
        frozenset(provenance.heard()),
        provenance.is_complete,
    )


def trained_system(name: str, identity: str, load: Callable[[], Recognizer], training: Corpus | None = None) -> System:
    """
    A baseline as a row.

    Args:
        name (`str`): What it is called.
        identity (`str`): All that it is made of but its training utterances.
        load (`Callable`): Fits it.
        training ([`Corpus`], *optional*): Its training utterances, if it has some.
    """
    corpora = frozenset(training.corpus_of.values()) if training else frozenset()
    heard = frozenset(map(speaker_digest, training.by_speaker)) if training else frozenset()
    identity = f"{identity} {digest_corpus(training)}" if training else identity
    return System(name, f"{name} {identity}", load, corpora, heard)


def measure_matrix(
    systems: Sequence[System],
    tables: Sequence[str | Path],
    output: str | Path,
    shots: Sequence[int] = SHOTS,
    seeds: Sequence[int] = range(5),
    setting: str = SETTING,
) -> str:
    """
    Measures each system on each corpus, and writes `matrix.json` and `matrix.md`. A cell that was measured before, in
    this folder and with the same arguments, is read back.

    Args:
        systems (`Sequence[System]`): The rows.
        tables (`Sequence[str]`): A table of test speakers for each corpus. Utterances with labels that a system does
            not choose from are left out, and so are numbers of shots that not every utterance can be given.
        output (`str` or `Path`): Folder of all that is written.
        shots (`Sequence[int]`, *optional*): Numbers of shots. At the largest that can be drawn, the labels are rotated
            too, the enrollment is another's, or it has no labels.
        seeds (`Sequence[int]`, *optional*, defaults to 0 ... 4): Enrollment seeds.
        setting (`str`, *optional*, defaults to `"TU+LD"`): How enrollments are drawn.

    Returns:
        `str`: Content of `matrix.md`.

    Raises:
        `ValueError`: If a table or a checkpoint cannot be read, two rows have one name, or another run writes there.
    """
    output = Path(output)
    if twice := sorted({s.name for s in systems if [other.name for other in systems].count(s.name) > 1}):
        raise ValueError(f"Several of the systems are called {', '.join(twice)}.")
    corpora = [load_corpus(table) for table in tables]
    names = name_corpora(tables, corpora)
    matrix: dict[str, Any] = {
        "setting": setting,
        "seeds": list(seeds),
        "shots": sorted(set(shots)),
        "systems": [
            {"name": s.name, "identity": s.identity, "trained_on": sorted(s.trained_on), "is_known": s.is_known}
            for s in systems
        ],
        "corpora": names,
        "cells": [],
    }
    digests = [digest_corpus(corpus) for corpus in corpora]
    with sole_writer(output):
        for system in systems:
            recognizer = None
            for name, table, corpus, digest in zip(names, tables, corpora, digests, strict=True):
                arguments = [FORMAT, system.identity, digest, setting, matrix["seeds"], matrix["shots"]]
                key = hashlib.sha256(json.dumps(arguments).encode()).hexdigest()[:16]
                path = output / "cells" / f"{key}.json"
                if not path.is_file():
                    recognizer = recognizer or system.load()
                    logger.info("%s on %s.", system.name, name)
                    report = measure_cell(recognizer, table, matrix["shots"], matrix["seeds"], setting)
                    with write_aside(path) as unfinished:
                        unfinished.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
                cell = {"system": system.name, "corpus": name, "mark": mark_of(system, corpus)}
                matrix["cells"].append(cell | {"report": read_json(path, dict[str, Any])})
        text = render(matrix)
        for file, content in {MATRIX_NAME: json.dumps(matrix, indent=1) + "\n", "matrix.md": text}.items():
            with write_aside(output / file) as unfinished:
                unfinished.write_text(content, encoding="utf-8")
    return text


def measure_cell(
    recognizer: Recognizer, table: str | Path, shots: Sequence[int], seeds: Sequence[int], setting: str
) -> dict[str, Any]:
    """The report of a system on a corpus, without the names of speakers."""
    corpus = load_corpus(table, recognizer.candidate_labels)
    most = min(max_shots(corpus, target, setting) for target in range(len(corpus)))
    report = evaluate(recognizer, corpus, [k for k in shots if k <= most], setting, seeds, ALL_CONTROLS)
    return with_digests(report.as_dict())  # pyright: ignore[reportArgumentType]


def digest_corpus(corpus: Corpus) -> str:
    """Identity of all that can be heard in a corpus, and of what is known of it, in hexadecimal digits."""
    rows = sorted((utterance.audio_sha256, utterance.label, utterance.speaker_id) for utterance in corpus)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def name_corpora(tables: Sequence[str | Path], corpora: Sequence[Corpus]) -> list[str]:
    """What each is called: by its corpora, else by its file, and by its path where two would be called alike."""
    names = ["+".join(sorted(set(corpus.corpus_of.values()))) for corpus in corpora]
    names = [name or Path(table).stem for name, table in zip(names, tables, strict=True)]
    return [name if names.count(name) == 1 else str(table) for name, table in zip(names, tables, strict=True)]


def mark_of(system: System, corpus: Corpus) -> str:
    """Whether a system knows a corpus; see `MARKS`."""
    if system.heard & set(map(speaker_digest, corpus.by_speaker)):
        return "!"
    if system.trained_on & set(corpus.corpus_of.values()):
        return "*"
    return "" if system.is_known else "?"


def render(matrix: Mapping[str, Any]) -> str:
    """
    The matrix as Markdown: the accuracy at the fewest and the most shots of all cells, then all conditions of each
    corpus, by each metric.

    Args:
        matrix (`Mapping[str, Any]`): Content of `matrix.json`.
    """
    systems = [system["name"] for system in matrix["systems"]]
    cells = {(cell["system"], cell["corpus"]): cell for cell in matrix["cells"]}
    rows = [
        [plain(name), trained_on(system), *(summary(cells[name, corpus]) for corpus in matrix["corpora"])]
        for name, system in zip(systems, matrix["systems"], strict=True)
    ]
    parts = [
        "# Each system on each corpus",
        f"UA_spk at the fewest and the most shots, {matrix['setting']}, {len(matrix['seeds'])} draws. {MARKS}.",
        markdown_table(["system", "trained on", *map(plain, matrix["corpora"])], rows),
    ]
    parts += trust_section(matrix, systems, cells)
    for corpus in matrix["corpora"]:
        reports = {name: cells[name, corpus]["report"] for name in systems}
        conditions = columns_of(list(reports.values()))
        utterances = sorted({report["num_utterances"] for report in reports.values()})
        parts.append(f"## {plain(corpus)}")
        parts.append(f"{' or '.join(map(str, utterances))} utterances of {num_speakers(reports.values())} speakers.")
        for metric, title in METRICS.items():
            rows = []
            for name, report in reports.items():
                found = {(row["shots"], row["control"]): f"{row[metric]:.3f}" for row in report["rows"]}
                rows.append([plain(name) + escaped(cells[name, corpus]["mark"])])
                rows[-1] += [found.get((condition.shots, condition.control), "-") for condition in conditions]
            parts.append(markdown_table([title, *map(condition_name, conditions)], rows))
    return "\n\n".join(parts) + "\n"


def trust_section(
    matrix: Mapping[str, Any], systems: Sequence[str], cells: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[str]:
    """How well a system's answers, and how familiar utterances sound to it, tell how far to trust it."""
    rows, odd = [], []
    for name in systems:
        of_system = [cells[name, corpus] for corpus in matrix["corpora"]]
        rows.append([plain(name), *(surest(cell["report"]) for cell in of_system)])
        shares = [cell["report"].get("familiarity") for cell in of_system]
        if None in shares:
            continue
        home = [share for cell, of_cell in zip(of_system, shares, strict=True) if cell["mark"] for share in of_cell]
        odd.append([plain(name)])
        for cell, of_cell in zip(of_system, shares, strict=True):
            apart = None if cell["mark"] else auroc(home, of_cell)
            odd[-1].append(
                f"{np.mean(np.less(of_cell, UNFAMILIAR)):.3f}" + (f", {apart:.3f}" if apart is not None else "")
            )
    head = ["system", *map(plain, matrix["corpora"])]
    parts = ["## Which answers to trust", "Accuracy of all answers, and of the surest half, at the most shots."]
    parts.append(markdown_table(head, rows))
    if odd:
        parts.append(
            "Share of the utterances whose familiarity is below "
            f"{UNFAMILIAR:g}, and, of a corpus that a system was not trained on, "
            "how well it tells them from those of the corpora that it was (AUROC)."
        )
        parts.append(markdown_table(head, odd))
    return parts


def trained_on(system: Mapping[str, Any]) -> str:
    """The corpora that are known."""
    return plain(" + ".join(system["trained_on"]) or ("-" if system["is_known"] else "?"))


def surest(report: Mapping[str, Any]) -> str:
    most = max((row for row in report["rows"] if row["control"] is None), key=lambda row: row["shots"])
    accuracies = dict(zip(COVERAGES, most["accuracy_at_coverage"], strict=True))
    return f"{accuracies[1]:.3f} to {accuracies[0.5]:.3f}"


def summary(cell: Mapping[str, Any]) -> str:
    """Accuracies at the fewest and the most shots, with the mark of the cell."""
    own = sorted((row["shots"], row["ua_spk"]) for row in cell["report"]["rows"] if row["control"] is None)
    accuracies = " to ".join(f"{accuracy:.3f}" for _, accuracy in (own if len(own) < 2 else [own[0], own[-1]]))
    return f"{accuracies}{escaped(cell['mark'])}"


def escaped(mark: str) -> str:
    return f" \\{mark}" if mark == "*" else f" {mark}" if mark else ""


def num_speakers(reports: Any) -> str:
    return " or ".join(map(str, sorted({len(report["rows"][0]["per_speaker"]) for report in reports})))


def columns_of(reports: Sequence[Mapping[str, Any]]) -> list[Condition]:
    """The conditions that any of the reports has, those without a control first."""
    found = dict.fromkeys((row["shots"], row["control"]) for report in reports for row in report["rows"])
    order = [None, *ALL_CONTROLS]
    return [
        Condition(*key) for key in sorted(found, key=lambda key: (key[1] is not None, key[0], order.index(key[1])))
    ]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
