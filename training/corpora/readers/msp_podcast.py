"""MSP-Podcast: natural English speech of podcasts, with the votes of many listeners."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from emoicl.training.corpora.base import CorpusReader, Recording, read_rows, read_text


# The first releases misspelt it.
CONSENSUS = ("Labels/labels_consensus.csv", "Labels/labels_concensus.csv")
DETAILED = "Labels/labels_detailed.csv"
AUDIO = ("Audios", "Audio")
COLUMNS = ("FileName", "EmoClass", "SpkrID", "Gender", "Split_Set")
UNKNOWN = "Unknown"
GENDERS = {"Female": "female", "Male": "male"}
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")
# Listeners choose one of these, or write another emotion of their own: `Other-Curious`, ...
CHOICES = {
    "Angry": "A",
    "Sad": "S",
    "Happy": "H",
    "Surprise": "U",
    "Fear": "F",
    "Disgust": "D",
    "Contempt": "C",
    "Neutral": "N",
}
OTHER = "O"
PARTS = {
    "Train": "train",
    "Development": "validation",
    "Validation": "validation",
    "Test": "test",
    "Test1": "test",
    "Test2": "test",
}


class MspPodcast(CorpusReader):
    """
    MSP-Podcast, any release with `Labels/labels_consensus.csv`; the clips are those of `Audios`.

    The table has FileName, EmoClass (a letter), SpkrID, Gender and Split_Set, among others. `labels_detailed.csv` has
    a row for each clip and listener, with the choice in a column `EmoClass_Major`, or, in some releases, second in
    `EmoDetail`: `WORKER00000001; Neutral; ...`. Some releases have a text file for each clip in `Transcripts`.

    Clips whose speaker the owners do not know are left out, and named: nothing can be enrolled for them, taking them
    for one speaker would be wrong, and taking each for one of its own could set the same person on both sides of a
    split. The third test set is left out because its labels are kept secret. Source: readme.txt of release 1.12, the
    owners' page, Lotfian and Busso 2019; the columns as read by several public loaders.
    """

    name = "msp-podcast"
    pretty_name = "MSP-Podcast"
    license = "MSP-Podcast academic license (research only)"
    license_url = "https://lab-msp.com/MSP/MSP-Podcast.html"
    homepage = "https://lab-msp.com/MSP/MSP-Podcast.html"
    citation = """\
@article{lotfian2019msp,
  title = {Building Naturalistic Emotionally Balanced Speech Corpus by Retrieving Emotional Speech from Existing
           Podcast Recordings},
  author = {Lotfian, Reza and Busso, Carlos},
  journal = {IEEE Transactions on Affective Computing},
  volume = {10},
  number = {4},
  pages = {471--483},
  year = {2019},
  doi = {10.1109/TAFFC.2017.2736999}
}"""
    languages = ("en",)
    elicitation = "natural"
    description = (
        "Turns of podcasts that may be shared, most of them picked by emotion classifiers so that many emotions "
        "occur; each was rated by at least five listeners over the web."
    )
    label_meaning = (
        "The emotion that most listeners chose from the sound. no_agreement: none has a majority; other: none of "
        "those offered. Neither of the two is an emotion to be recognized."
    )
    label_map = {
        "A": "anger",
        "S": "sadness",
        "H": "joy",
        "U": "surprise",
        "F": "fear",
        "D": "disgust",
        "C": "contempt",
        "N": "neutral",
        "O": "other",
        "X": "no_agreement",
    }
    layout = "Labels/labels_consensus.csv and so on, and Audios/MSP-PODCAST_0001_0008.wav and so on"
    required = ("Labels",)
    ignored = {
        "*_test3_*": "of the third test set, whose labels are not published",
        "Previous_releases*": "of an earlier release",
    }

    def __init__(self, source: str | Path):
        super().__init__(source)
        self.has_votes = (self.source / DETAILED).is_file()
        table = next((name for name in CONSENSUS if (self.source / name).is_file()), CONSENSUS[0])
        self._rows = read_rows(self.source / table, COLUMNS)
        self.flawed = {
            Path(row["FileName"]).stem: "the owners do not know who speaks"
            for row in self._rows
            if row["SpkrID"] == UNKNOWN
        }

    def recordings(self) -> Iterator[Recording]:
        audio = next((name for name in AUDIO if (self.source / name).is_dir()), AUDIO[0])
        votes = self._votes() if self.has_votes else {}
        for row in self._rows:
            yield Recording(
                path=f"{audio}/{row['FileName']}",
                speaker_id=row["SpkrID"],
                native_label=row["EmoClass"],
                gender=GENDERS.get(row["Gender"], ""),
                text=self._text(row["FileName"]),
                votes=votes.get(row["FileName"]),
            )

    def speaker_lists(self) -> dict[str, list[str]]:
        """
        The owners' partition (`Split_Set`). As a JSON file it is what `emoicl corpus split --speakers` takes. The test
        sets are one part: they share speakers with each other.

        Returns:
            `dict[str, list[str]]`: `"train"`, `"validation"` and `"test"` with their speakers, named as in the
            prepared tables (`"msp-podcast/30"`).

        Raises:
            `ValueError`: If a set is unknown, or a speaker is in two parts.
        """
        parts: dict[str, str] = {}
        for row in self._rows:
            if row["SpkrID"] == UNKNOWN:
                continue
            speaker = f"{self.name}/{row['SpkrID']}"
            if row["Split_Set"] not in PARTS:
                raise ValueError(
                    f"{self.source}: {row['FileName']} is in the set {row['Split_Set']!r}, which is none of "
                    f"{', '.join(PARTS)}."
                )
            part = PARTS[row["Split_Set"]]
            if parts.setdefault(speaker, part) != part:
                raise ValueError(f"{self.source}: speaker {speaker} is in {parts[speaker]} and in {part}.")
        return {
            part: sorted(speaker for speaker in parts if parts[speaker] == part)
            for part in ("train", "validation", "test")
        }

    def _text(self, file_name: str) -> str:
        transcript = (self.source / "Transcripts" / file_name).with_suffix(".txt")
        return " ".join(read_text(transcript, ENCODINGS).split()) if transcript.is_file() else ""

    def _votes(self) -> dict[str, Counter[str]]:
        """Votes by file name. Read row by row: the table has more than a million."""
        path = self.source / DETAILED
        votes: dict[str, Counter[str]] = {}
        # What listeners write themselves may be in any encoding, and is not looked at.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            table = csv.DictReader(file)
            names = table.fieldnames or ()
            if "FileName" not in names or not {"EmoClass_Major", "EmoDetail"} & set(names):
                raise ValueError(f"{path}: lacks FileName, or both EmoClass_Major and EmoDetail; it has {names}.")
            for number, row in enumerate(table, start=1):
                choice = _choice(row)
                if not choice:
                    raise ValueError(f"{path}: row {number}, {row['FileName']}, has no emotion: {list(row.values())}.")
                votes.setdefault(row["FileName"], Counter())[CHOICES.get(choice, OTHER)] += 1
        return votes


def _choice(row: dict[str, str]) -> str:
    if "EmoClass_Major" in row:
        return (row["EmoClass_Major"] or "").strip()
    return ((row["EmoDetail"] or "").split(";") + [""])[1].strip()
