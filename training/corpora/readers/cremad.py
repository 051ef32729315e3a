"""CREMA-D: acted American English of 91 actors, with the votes of listeners."""

import re
from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording, read_rows


SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": ""}
NAME = re.compile(r"(?P<actor>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>LO|MD|HI|XX)")
# Votes are counted in columns of one letter, the first of the label's three.
VOTES = {"A": "ANG", "D": "DIS", "F": "FEA", "H": "HAP", "N": "NEU", "S": "SAD"}
DEMOGRAPHICS = "VideoDemographics.csv"
CLIPS = "SentenceFilenames.csv"
TABULATED_VOTES = "processedResults/tabulatedVotes.csv"
# tabulateVotesV2.r numbers its rows 100000 * queryType + clip; query type 1 is the voice alone.
VOICE_ONLY = "1"


class CremaD(CorpusReader):
    """
    CREMA-D as its git repository (with git-lfs) has it; the clips are those of `AudioWAV`.

    A name has four parts: actor, sentence, emotion and level (low, medium and high for one sentence, else XX,
    unspecified). `SentenceFilenames.csv` lists the clips, `VideoDemographics.csv` the actors' sex and age, and
    `processedResults/tabulatedVotes.csv` the votes: those on the voice alone are taken. Source: README.md and the
    tables of the owners' repository.
    """

    name = "crema-d"
    pretty_name = "CREMA-D"
    license = "ODbL-1.0"
    license_url = "https://opendatacommons.org/licenses/odbl/1-0/"
    homepage = "https://github.com/CheyneyComputerScience/CREMA-D"
    citation = """\
@article{cao2014cremad,
  title = {{CREMA-D}: Crowd-sourced Emotional Multimodal Actors Dataset},
  author = {Cao, Houwei and Cooper, David G. and Keutmann, Michael K. and Gur, Ruben C. and Nenkova, Ani and
            Verma, Ragini},
  journal = {IEEE Transactions on Affective Computing},
  volume = {5},
  number = {4},
  pages = {377--390},
  year = {2014},
  doi = {10.1109/TAFFC.2014.2336244}
}"""
    languages = ("en",)
    elicitation = "acted"
    description = (
        "91 actors (48 men, 43 women, 20 to 74 years, of several ethnic backgrounds) speak 12 sentences in six "
        "emotions, one of the sentences at three levels. 2,443 listeners rated the clips."
    )
    label_meaning = (
        "The emotion that the actor was asked to show. Listeners to the voice alone agree with it in about 41 % of "
        "the ratings: see the column votes."
    )
    label_map = {
        "ANG": "anger",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "joy",
        "NEU": "neutral",
        "SAD": "sadness",
    }
    layout = f"AudioWAV/1001_DFA_ANG_XX.wav and so on, {CLIPS}, {DEMOGRAPHICS} and {TABULATED_VOTES}"
    required = ("AudioWAV", CLIPS, DEMOGRAPHICS)
    ignored = {"AudioMP3/*": "the same clips as MP3", "Video*/*": "video"}
    flawed = {"1076_MTI_SAD_XX": "holds no sound"}

    def __init__(self, source):
        super().__init__(source)
        self.has_votes = (self.source / TABULATED_VOTES).is_file()

    def recordings(self) -> Iterator[Recording]:
        actors = {row["ActorID"]: row for row in read_rows(self.source / DEMOGRAPHICS, ["ActorID", "Age", "Sex"])}
        votes = self._votes() if self.has_votes else {}
        for row in read_rows(self.source / CLIPS, ["Filename"]):
            clip = row["Filename"]
            match = NAME.fullmatch(clip)
            if not match or match["sentence"] not in SENTENCES or match["actor"] not in actors:
                raise ValueError(f"{self.source / CLIPS}: {clip!r} is no clip of a known actor and sentence.")
            actor = actors[match["actor"]]
            yield Recording(
                path=f"AudioWAV/{clip}.wav",
                speaker_id=match["actor"],
                native_label=match["emotion"],
                sentence_id=match["sentence"],
                intensity=INTENSITIES[match["level"]],
                gender=actor["Sex"].lower(),
                age=actor["Age"],
                text=SENTENCES[match["sentence"]],
                votes=votes.get(clip),
            )

    def _votes(self) -> dict[str, dict[str, float]]:
        # The column of row numbers has no name.
        rows = read_rows(self.source / TABULATED_VOTES, ["", "fileName", *VOTES])
        return {
            row["fileName"]: {label: float(row[letter]) for letter, label in VOTES.items()}
            for row in rows
            if row[""][0] == VOICE_ONLY
        }
