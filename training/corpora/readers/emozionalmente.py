"""Emozionalmente: crowd-sourced acted Italian of 431 people, with the votes of listeners."""

from collections import Counter
from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording, read_rows


SAMPLES = "metadata/samples.csv"
USERS = "metadata/users.csv"
EVALUATIONS = "metadata/evaluations.csv"
# By the first letter, for whichever language and case the participants' word is in.
GENDERS = {"f": "female", "m": "male", "o": "other"}


class Emozionalmente(CorpusReader):
    """
    Emozionalmente: the folder `emozionalmente_dataset` of the archive.

    `metadata/samples.csv` lists the clips (file, sentence, actor, emotion expressed), `users.csv` the gender and age
    of everybody who took part, and `evaluations.csv` the votes: five listeners for each clip. File names are times of
    recording. The 18 sentences have no numbers, so that `sentence_id` is the sentence; three of them are also spoken
    in EMOVO. The owners' division into train, dev and test, by speaker, is not kept. Source: the Zenodo record 6569824
    and the tables in the archive.
    """

    name = "emozionalmente"
    pretty_name = "Emozionalmente"
    license = "CC-BY-4.0"
    license_url = "https://creativecommons.org/licenses/by/4.0/"
    homepage = "https://zenodo.org/records/6569824"
    citation = """\
@article{catania2025emozionalmente,
  title = {Emozionalmente: A Crowdsourced Corpus of Simulated Emotional Speech in {Italian}},
  author = {Catania, F. and Wilke, J. W. and Garzotto, F.},
  journal = {IEEE Transactions on Audio, Speech and Language Processing},
  volume = {33},
  pages = {1142--1155},
  year = {2025},
  doi = {10.1109/TASLPRO.2025.3540662}
}"""
    languages = ("it",)
    elicitation = "acted"
    description = (
        "431 amateurs speak 18 everyday Italian sentences in seven emotions, recorded with their own devices. 829 "
        "listeners rated the clips, five each."
    )
    label_meaning = (
        "The emotion that the speaker meant to show. Listeners agree with it in 66 % of the ratings: see the column "
        "votes."
    )
    label_map = {
        "anger": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "joy": "joy",
        "neutrality": "neutral",
        "sadness": "sadness",
        "surprise": "surprise",
    }
    layout = f"audio/1612872848291.wav and so on, {SAMPLES}, {USERS} and {EVALUATIONS}"
    required = ("audio", SAMPLES, USERS, EVALUATIONS)
    has_votes = True

    def recordings(self) -> Iterator[Recording]:
        users = {row["username"]: row for row in read_rows(self.source / USERS, ["username", "gender", "age"])}
        votes = self._votes()
        columns = ["file_name", "sentence", "actor", "emotion_expressed"]
        for number, row in enumerate(read_rows(self.source / SAMPLES, columns), start=1):
            if row["actor"] not in users:
                raise ValueError(f"{self.source / SAMPLES}: row {number}, actor {row['actor']!r} is not in {USERS}.")
            actor = users[row["actor"]]
            yield Recording(
                path=f"audio/{row['file_name']}",
                speaker_id=row["actor"],
                native_label=row["emotion_expressed"],
                sentence_id=row["sentence"],
                gender=GENDERS.get(actor["gender"][:1].lower(), ""),
                age=actor["age"],
                text=row["sentence"],
                votes=votes.get(row["file_name"]),
            )

    def _votes(self) -> dict[str, dict[str, float]]:
        """How many listeners chose each emotion, by file name."""
        counts: dict[str, Counter[str]] = {}
        for row in read_rows(self.source / EVALUATIONS, ["file_name", "emotion_recognized"]):
            counts.setdefault(row["file_name"], Counter())[row["emotion_recognized"]] += 1
        return {name: {label: count[label] for label in (*self.label_map, *count)} for name, count in counts.items()}
