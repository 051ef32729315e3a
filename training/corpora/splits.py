"""A corpus divided into speaker-disjoint tables that are trained on, chosen on and measured on."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tabulate import tabulate

from emoicl.training.corpora.split_rules import (
    STRATIFY,
    check_duplicates,
    describe_speakers,
    read_speaker_lists,
    separate_sentences,
)
from emoicl.training.corpora.split_tables import SplitRow, list_rows, write_parts
from emoicl.training.data.sources import REQUIRED
from emoicl.training.data.speaker_splits import PARTS, Speaker, split_by_lists, split_by_share, split_into_folds
from emoicl.training.data.table_sources import open_tables
from emoicl.training.data.writing import write_aside


@dataclass(frozen=True)
class SplitReport:
    """
    One split, or one fold.

    Args:
        name (`str`): `""`, or the folder of the fold, `"fold_0"`.
        settings (`Mapping[str, Any]`): How it was made.
        speakers (`Mapping[str, Sequence[str]]`): The speakers of each part.
        counts (`Sequence[Mapping[str, Any]]`): The paper's Table I: for each part, gender and age group the number of
            speakers and clips, and of clips by emotion. `"all"` stands for the sum.
        left_out (`Mapping[str, Any]`): Under `"sentences"` the number of clips of each part that were left out to keep
            sentences apart; under `"speakers"` those without a clip in any part; under `"not_in_corpus"` the listed
            names that no speaker has.
    """

    name: str
    settings: Mapping[str, Any]
    speakers: Mapping[str, Sequence[str]]
    counts: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, Any]

    def text(self) -> str:
        """Table I, and what was left out."""
        emotions = list(self.counts[-1]["emotions"])
        columns = ["split", "gender", "age", "speakers", "clips"]
        rows = [[*(row[name] for name in columns), *row["emotions"].values()] for row in self.counts]
        table = tabulate(rows, [*columns, *emotions], tablefmt="plain", disable_numparse=[2])
        return "\n".join([table, *self._remarks()]) + "\n"

    def summary(self) -> str:
        """One line."""
        totals = [row for row in self.counts[:-1] if row["gender"] == "all"]
        parts = [f"{row['split']} {row['speakers']} speakers, {row['clips']} clips" for row in totals]
        tested = ", ".join(self.speakers.get("test", [])[:3])
        more = ", ..." if len(self.speakers.get("test", [])) > 3 else ""
        return "; ".join(parts) + (f" ({tested}{more})" if tested else "")

    def save(self, folder: Path) -> None:
        """Writes `split.json`, which `--speakers` takes, and `split.txt`."""
        content = {
            "settings": self.settings,
            "speakers": self.speakers,
            "left_out": self.left_out,
            "counts": self.counts,
        }
        (folder / "split.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "split.txt").write_text(self.text(), encoding="utf-8")

    def _remarks(self) -> list[str]:
        remarks = []
        for row in self.counts:
            absent = [emotion for emotion, count in row["emotions"].items() if not count]
            if row["gender"] == "all" and absent:
                remarks.append(f"{row['split']} has no clips of {', '.join(absent)}.")
        if any(self.left_out["sentences"].values()):
            numbers = ", ".join(f"{count} of {part}" for part, count in self.left_out["sentences"].items())
            remarks.append(f"Clips left out to keep sentences apart: {numbers}.")
        if self.left_out["speakers"]:
            remarks.append(f"Speakers left out: {', '.join(self.left_out['speakers'])}.")
        if self.left_out["not_in_corpus"]:
            remarks.append(f"Listed, but not in the corpus: {', '.join(self.left_out['not_in_corpus'])}.")
        return ["", *remarks] if remarks else []


def split_corpus(
    paths: Sequence[str | Path],
    output: str | Path,
    validation: float = 0.1,
    test: float = 0.1,
    num_folds: int | Literal["speakers"] | None = None,
    speaker_lists: str | Path | None = None,
    stratify: Sequence[str] | None = None,
    sentence_disjoint: bool = False,
    allow_missing: bool = False,
    seed: int = 0,
) -> list[SplitReport]:
    """
    Write the rows of a corpus as tables that share no speaker, no clip and, if asked, no sentence with training.

    `output` then holds `train.parquet`, `validation.parquet`, `test.parquet` (a part that nobody is in has no table),
    `split.json` and `split.txt`; for folds, in `fold_0/`, `fold_1/`, ... Rows keep their order and columns. The same
    call writes the same bytes. Everything is checked before anything is written.

    Args:
        paths (`Sequence[str | Path]`): What [`open_tables`] takes, with the columns `audio`, `emotion` and
            `speaker_id`.
        output (`str` or `Path`): Folder to write, new or empty.
        validation (`float`, *optional*, defaults to 0.1): Share of the speakers.
        test (`float`, *optional*, defaults to 0.1): Share of the speakers, if there are neither folds nor lists.
        num_folds (`int` or `"speakers"`, *optional*): Make as many folds, or one for each speaker, in which each
            speaker is tested once.
        speaker_lists (`str` or `Path`, *optional*): Given or official parts, see [`read_speaker_lists`].
        stratify (`Sequence[str]`, *optional*): Columns whose values are spread evenly over the parts, the most
            important first, after the corpus of a speaker. By default `gender` and `age`, where they are known.
        sentence_disjoint (`bool`, *optional*, defaults to `False`): See [`separate_sentences`].
        allow_missing (`bool`, *optional*, defaults to `False`): See [`split_by_lists`].
        seed (`int`, *optional*, defaults to 0): Seed of all draws.

    Returns:
        `list[SplitReport]`: One for each fold, as saved.

    Raises:
        `ValueError`: If tables cannot be read or lack what is asked for, if speakers are too few or not as listed, if
            byte-identical clips are in different parts, or if `output` holds something.
    """
    output = Path(output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ValueError(f"{output}: there is something already; name a new folder.")
    if num_folds is not None and speaker_lists is not None:
        raise ValueError("Either speakers are dealt to folds, or their parts are given.")
    tables = open_tables(paths, REQUIRED)
    for table in tables:
        table.require([*(stratify or ()), *(["sentence_id"] if sentence_disjoint else [])])
    strata = list(STRATIFY if stratify is None else stratify)
    clips = list_rows(tables, list(dict.fromkeys([*STRATIFY, *strata, "sentence_id"])))
    speakers = describe_speakers(clips, strata)
    settings: dict[str, Any] = {"tables": [table.path.name for table in tables]}
    draws = {"validation": validation, "seed": seed, "stratify": strata}
    unknown: list[str] = []
    if speaker_lists is not None:
        settings |= {"speakers": Path(speaker_lists).name}
        part_of, unknown = split_by_lists(speakers, read_speaker_lists(Path(speaker_lists)), allow_missing)
        divisions = {"": part_of}
    elif num_folds is not None:
        settings |= {"num_folds": num_folds, **draws}
        folds = split_into_folds(speakers, None if num_folds == "speakers" else num_folds, validation, seed)
        divisions = {f"fold_{number}": part_of for number, part_of in enumerate(folds)}
    else:
        settings |= {"test": test, **draws}
        divisions = {"": split_by_share(speakers, validation, test, seed)}
    settings |= {"sentence_disjoint": sentence_disjoint}
    rows, reports = {}, []
    for name, part_of in divisions.items():
        dealt = [part_of[clip.speaker_id] for clip in clips]
        rows[name] = separate_sentences(clips, dealt, seed) if sentence_disjoint else dealt
        check_duplicates(clips, rows[name])
        reports.append(_report(name, settings, speakers, clips, dealt, rows[name], unknown))
    with write_aside(output.absolute()) as unfinished:
        for report in reports:
            folder = unfinished / report.name
            folder.mkdir(parents=True)
            write_parts(tables, rows[report.name], folder)
            report.save(folder)
        if output.exists():
            output.rmdir()
    return reports


def _report(
    name: str,
    settings: Mapping[str, Any],
    speakers: Mapping[str, Speaker],
    clips: Sequence[SplitRow],
    dealt: Sequence[str],
    kept: Sequence[str],
    unknown: Sequence[str],
) -> SplitReport:
    lost = Counter(before for before, after in zip(dealt, kept, strict=True) if before != after)
    present = {
        part: sorted({clip.speaker_id for clip, its in zip(clips, kept, strict=True) if its == part}) for part in PARTS
    }
    somewhere = {speaker_id for of_part in present.values() for speaker_id in of_part}
    left_out = {
        "sentences": {part: lost[part] for part in PARTS},
        "speakers": [speaker_id for speaker_id in speakers if speaker_id not in somewhere],
        "not_in_corpus": list(unknown),
    }
    return SplitReport(name, settings, present, _count_cells(speakers, clips, kept), left_out)


def _count_cells(
    speakers: Mapping[str, Speaker], clips: Sequence[SplitRow], parts: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of Table I."""
    emotions = sorted({clip.emotion for clip in clips})
    cells: dict[tuple[str, str, str], list[SplitRow]] = {}
    for clip, part in zip(clips, parts, strict=True):
        speaker = speakers[clip.speaker_id]
        if part:
            sums = [(part, "all", ""), ("all", "all", "")]
            for cell in [(part, speaker.gender, speaker.age_group), *sums]:
                cells.setdefault(cell, []).append(clip)

    def place(cell: tuple[str, str, str]) -> tuple:
        part, gender, age = cell
        return [*PARTS, "all"].index(part), gender == "all", gender, age

    rows = []
    for cell in sorted(cells, key=place):
        counts = Counter(clip.emotion for clip in cells[cell])
        rows.append(
            {
                **dict(zip(("split", "gender", "age"), cell, strict=True)),
                "speakers": len({clip.speaker_id for clip in cells[cell]}),
                "clips": len(cells[cell]),
                "emotions": {emotion: counts[emotion] for emotion in emotions},
            }
        )
    return rows
