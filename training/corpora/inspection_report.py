"""An inspection in words and tables, for the terminal and as files."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from emoicl.training.corpora.inspection import FINDINGS, Inspection
from emoicl.training.corpora.inspection_plots import plot_counts, plot_durations, plot_shots
from emoicl.training.episodes.enrollment import SETTINGS


# What the brief report, for a terminal, shows of a list, and up to how many speakers it shows all cells.
NUM_NAMED = 10
NUM_SPEAKERS = 30
SHOTS = (1, 3, 5, 7)


def report_text(inspection: Inspection, brief: bool = False) -> str:
    """
    The report, as Markdown that also reads well as it is.

    Args:
        inspection ([`Inspection`]): What was found.
        brief (`bool`, *optional*, defaults to `False`): Only the beginning of long lists.
    """
    limit = NUM_NAMED if brief else None
    sections = [
        _overview(inspection),
        _counts(inspection, brief, limit),
        _durations(inspection),
        _table(("format", "clips"), inspection.formats.items()),
        _findings(inspection, limit),
        _copies(inspection, limit),
        _sentences(inspection, limit),
        _enrollment(inspection, brief),
    ]
    if inspection.skipped:
        sections.append("## Not looked at\n\n" + "\n".join(f"- {reason}" for reason in inspection.skipped))
    return "\n\n".join(sections) + "\n"


def save_report(inspection: Inspection, folder: str | Path) -> list[Path]:
    """
    Write an inspection: `report.md`, `report.json`, `counts.png`, `durations.png` and `enrollment.png`.

    Args:
        inspection ([`Inspection`]): What was found.
        folder (`str` or `Path`): Folder to write.

    Returns:
        `list[Path]`: The files.

    Raises:
        `ValueError`: If the folder is that of a prepared corpus, which has another report.json.
    """
    folder = Path(folder)
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text, numbers = folder / "report.md", folder / "report.json"
    text.write_text(report_text(inspection), encoding="utf-8")
    numbers.write_text(json.dumps(inspection.as_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    files = [text, numbers]
    for plot, name in ((plot_counts, "counts"), (plot_durations, "durations"), (plot_shots, "enrollment")):
        files.append(folder / f"{name}.png")
        plot(inspection, files[-1])
    return files


def check_folder(folder: Path) -> None:
    """Refuses the folder of a prepared corpus, whose own report would be written over."""
    if (folder / "report.txt").is_file():
        raise ValueError(f"{folder}: is a prepared corpus with a report.json of its own; name another folder.")


def _overview(inspection: Inspection) -> str:
    speakers = {clip.speaker_id for clip in inspection.clips}
    hours = sum(clip.check.duration for clip in inspection.clips) / 3600
    tables = ", ".join(inspection.tables)
    return f"# Inspection\n\n{len(inspection.clips)} clips of {len(speakers)} speakers, {hours:.2f} h, in {tables}"


def _counts(inspection: Inspection, brief: bool, limit: int | None) -> str:
    lines = ["## Speakers and emotions"]
    for corpus, speakers in inspection.counts.items():
        rows = []
        for emotion in next(iter(speakers.values())):
            counts = [of_speaker[emotion] for of_speaker in speakers.values()]
            spread = f"{min(counts)} / {statistics.median(counts):g} / {max(counts)}"
            rows.append((emotion, sum(counts), sum(count > 0 for count in counts), spread))
        header = (f"{corpus}: emotion", "clips", f"speakers of {len(speakers)}", "min / median / max per speaker")
        lines.append(_table(header, rows))
        if not brief or len(speakers) <= NUM_SPEAKERS:
            emotions = list(next(iter(speakers.values())))
            lines.append(_table(("speaker", *emotions), [(name, *cells.values()) for name, cells in speakers.items()]))
    lacking = inspection.missing_cells
    num_missing = sum(map(len, lacking.values()))
    lines.append(f"Missing cells (no clip of an emotion by a speaker): {num_missing}")
    if lacking:
        lines.append(_list((f"{name}: no {', no '.join(absent)}" for name, absent in lacking.items()), limit))
    return "\n\n".join(lines)


def _durations(inspection: Inspection) -> str:
    rows = []
    for corpus, emotions in inspection.durations.items():
        for emotion, seconds in emotions.items():
            spread = (min(seconds), statistics.median(seconds), max(seconds))
            rows.append((corpus, emotion, *(f"{value:.2f}" for value in spread), f"{sum(seconds) / 60:.1f}"))
    header = ("corpus", "emotion", "min (s)", "median (s)", "max (s)", "total (min)")
    return "## Durations and formats\n\n" + _table(header, rows)


def _findings(inspection: Inspection, limit: int | None) -> str:
    lines = ["## Clips to look at"]
    for kind, meaning in FINDINGS.items():
        found = inspection.findings[kind]
        lines.append(f"{kind}: {len(found)} ({meaning})")
        if found:
            lines.append(_list((f"{name}: {reason}" for name, reason in found.items()), limit))
    return "\n\n".join(lines)


def _copies(inspection: Inspection, limit: int | None) -> str:
    lines = ["## Copies"]
    for kind in ("byte-identical", "near-identical"):
        groups = [group for group in inspection.copies if group.kind == kind]
        contradicting = [group for group in groups if group.contradiction]
        lines.append(f"{kind}: {len(groups)} groups, {len(contradicting)} of them contradicting in emotion or speaker")
        if groups:
            groups.sort(key=lambda group: not group.contradiction)
            lines.append(_list(map(_copies_line, groups), limit))
    return "\n\n".join(lines)


def _copies_line(copies: Any) -> str:
    names = " = ".join(f"{clip.name}, {clip.emotion}, {clip.speaker_id}" for clip in copies.clips)
    return names + (f" (contradicting in {copies.contradiction})" if copies.contradiction else "")


def _sentences(inspection: Inspection, limit: int | None) -> str:
    lines = ["## Do sentences give the emotion away?"]
    rows = []
    for corpus, leakage in inspection.leakage.items():
        beyond = "cannot be told" if leakage.share is None else f"{leakage.share:.1%}"
        told = (f"{leakage.told:.1%}", f"{leakage.by_chance:.1%}", beyond, f"{leakage.p_value:.3f}")
        verdict = "YES" if leakage.gives_away else "-" if leakage.share is None else "no"
        rows.append((corpus, leakage.column, leakage.num_sentences, leakage.num_clips, *told, verdict))
    header = ("corpus", "column", "sentences", "clips", "told", "by chance", "beyond chance", "p", "gives away")
    if rows:
        lines.append(_table(header, rows))
        lines.append(
            "Told is the mutual information of sentence and emotion as a share of the emotion's entropy; by chance, "
            "the same for emotions dealt at random; less than that is a balanced design. YES: at least 5 % beyond "
            "chance, p < 0.01."
        )
    else:
        lines.append("No corpus says which sentence is spoken.")
    for corpus, leakage in inspection.leakage.items():
        if leakage.single_emotion:
            lines.append(
                f"{corpus}: {len(leakage.single_emotion)} sentences are said more than once and in one emotion only "
                f"({leakage.expected_single:.1f} expected by chance)"
            )
            named = (f"{name}: {emotion}, {num} clips" for name, (emotion, num) in leakage.single_emotion.items())
            lines.append(_list(named, limit))
    return "\n\n".join(lines)


def _enrollment(inspection: Inspection, brief: bool) -> str:
    lines = ["## Enrollment", "The largest k that every utterance of a speaker can be given as its enrollment:"]
    if not inspection.shots:
        return "\n\n".join([lines[0], "No clip is left to enroll."])
    rows = []
    for setting in map(str, SETTINGS):
        largest = [shots[setting] for shots in inspection.shots.values()]
        reached = [inspection.reachable(setting, k) for k in SHOTS]
        rows.append((setting, min(largest), f"{statistics.median(largest):g}", max(largest), *reached))
    header = ("setting", "min", "median", "max", *(f"speakers with k = {k}" for k in SHOTS))
    lines.append(_table(header, rows))
    lines.append(f"Of {len(inspection.shots)} speakers; silent and unusable clips and copies are left out.")
    if not brief:
        names = list(map(str, SETTINGS))
        rows = [(speaker, *(shots[name] for name in names)) for speaker, shots in inspection.shots.items()]
        lines.append(_table(("speaker", *names), rows))
    return "\n\n".join(lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with columns of one width, all but the first to the right."""
    cells = [[str(value).replace("|", "\\|") for value in row] for row in rows]
    align = ["left"] + ["right"] * (len(header) - 1)
    # Not parsed, because a speaker "007" is not the number 7.
    return tabulate(cells, header, tablefmt="pipe", colalign=align if cells else None, disable_numparse=True)


def _list(items: Iterable[str], limit: int | None) -> str:
    items = list(items)
    shown = items[:limit]
    if len(shown) < len(items):
        shown.append(f"and {len(items) - len(shown)} more (all with --output)")
    return "\n".join(f"- {item}" for item in shown)
