"""What a preparation found, in numbers and by name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


# What the owners' folder should not show: it stops a preparation unless that is allowed.
PROBLEMS = {
    "missing": "listed, but not in the folder",
    "unreadable": "no audio that can be read",
    "unlisted": "audio in the folder that the corpus does not list",
    "contradictory": "byte-identical to another clip of another label or speaker; all copies left out",
    "miscounted": "another number of clips than the owners state",
}
# What is as it should be, and is told because it is not in the table.
NOTES = {
    "duplicate": "byte-identical to an earlier clip of the same label and speaker; left out",
    "flawed": "unusable by what the owners say; left out",
    "ignored": "in the owners' folder, but no part of this corpus",
}
NAMES_IN_MESSAGE = 3


@dataclass(frozen=True)
class Report:
    """
    The outcome of a preparation.

    Args:
        corpus (`str`): Name of the corpus.
        num_listed (`int`): Clips that should be there.
        num_prepared (`int`): Clips that are in the tables.
        num_speakers (`int`): Their speakers.
        seconds (`float`): Their duration.
        labels (`Mapping[str, Mapping[str, int]]`): Number of clips by harmonized and then by native label.
        genders (`Mapping[str, int]`): Number of speakers by gender; `""` is unknown.
        findings (`Mapping[str, Mapping[str, str]]`): For each kind of `PROBLEMS` and `NOTES`, the files and reasons.
    """

    corpus: str
    num_listed: int
    num_prepared: int
    num_speakers: int
    seconds: float
    labels: Mapping[str, Mapping[str, int]]
    genders: Mapping[str, int]
    findings: Mapping[str, Mapping[str, str]]

    @property
    def problems(self) -> dict[str, Mapping[str, str]]:
        """The findings that stop a preparation unless they are allowed."""
        return {kind: self.findings[kind] for kind in PROBLEMS if self.findings[kind]}

    def summary(self) -> str:
        """The problems in one sentence, the first few of each kind by name."""
        parts = []
        for kind, files in self.problems.items():
            names = ", ".join(list(files)[:NAMES_IN_MESSAGE])
            more = f" and {len(files) - NAMES_IN_MESSAGE} more" if len(files) > NAMES_IN_MESSAGE else ""
            parts.append(f"{len(files)} {kind} ({names}{more})")
        return ", ".join(parts)

    def text(self, with_names: bool = True) -> str:
        """All counts, and by name every file that is not as it should be, unless there are to be no names."""
        lines = [
            f"{self.corpus}: {self.num_prepared} of {self.num_listed} listed clips prepared, "
            f"{self.num_speakers} speakers, {self.seconds / 3600:.2f} h",
            "",
        ]
        for emotion, natives in self.labels.items():
            of = ", ".join(f"{native}: {count}" for native, count in natives.items())
            lines.append(f"  {emotion:<16} {sum(natives.values()):>7}  ({of})")
        for kind, meaning in (PROBLEMS | NOTES).items():
            files = self.findings[kind]
            lines += ["", f"{kind}: {len(files)}" + (f" ({meaning})" if files else "")]
            if with_names:
                lines += [f"  {name}" + (f": {reason}" if reason else "") for name, reason in files.items()]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path) -> None:
        """Writes `report.json` and `report.txt`."""
        counts = {kind: len(files) for kind, files in self.findings.items()}
        content = {
            "corpus": self.corpus,
            "listed": self.num_listed,
            "prepared": self.num_prepared,
            "speakers": self.num_speakers,
            "seconds": round(self.seconds, 3),
            "labels": self.labels,
            "genders": self.genders,
            "counts": counts,
            "findings": self.findings,
        }
        (folder / "report.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "report.txt").write_text(self.text(), encoding="utf-8")
