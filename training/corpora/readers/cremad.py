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
NAME = re.compile(
    rf"(?P<actor>1\d{{3}})_(?P<sentence>{'|'.join(SENTENCES)})_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_"
    rf"(?P<level>{'|'.join(INTENSITIES)})"
)
# Votes are counted in columns of one letter, the first of the label's three.
VOTES = {"A": "ANG", "D": "DIS", "F": "FEA", "H": "HAP", "N": "NEU", "S": "SAD"}
DEMOGRAPHICS = "VideoDemographics.csv"
CLIPS = "SentenceFilenames.csv"
TABULATED_VOTES = "tabulatedVotes.csv"
NUM_CLIPS = 7442
# tabulateVotesV2.r numbers its rows 100000 * queryType + clip; query type 1 is the voice alone.
VOICE_ONLY = "1"


class CremaD(CorpusReader):
    """
    CREMA-D as its git repository (with git-lfs) has it; the clips are those of `AudioWAV`, which may be there alone.

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
    layout = f"AudioWAV/1001_DFA_ANG_XX.wav and so on, {CLIPS}, {DEMOGRAPHICS} and processedResults/{TABULATED_VOTES}"
    clip_name = NAME
    beside = {CLIPS: "clips that are not there are counted, not named", DEMOGRAPHICS: "gender and age are unknown"}
    ignored = {"*AudioMP3/*": "the same clips as MP3", "*VideoFlash/*": "video"}
    flawed = {"1076_MTI_SAD_XX": "holds no sound"}

    def __init__(self, source):
        super().__init__(source)
        self.has_votes = self.find(TABULATED_VOTES) is not None
        self.num_recordings = None if self.find(CLIPS) else NUM_CLIPS

    def recordings(self) -> Iterator[Recording]:
        actors, votes = self._actors(), self._votes()
        table = self.find(CLIPS)
        for clip in [row["Filename"] for row in read_rows(table, ["Filename"])] if table else self.clips:
            match = NAME.fullmatch(clip)
            if not match or (actors and match["actor"] not in actors):
                raise ValueError(f"{table or self.source}: {clip!r} is no clip of a known actor and sentence.")
            actor = actors.get(match["actor"], {"Sex": "", "Age": ""})
            yield Recording(
                path=self.clips.get(clip, f"AudioWAV/{clip}.wav"),
                speaker_id=match["actor"],
                native_label=match["emotion"],
                sentence_id=match["sentence"],
                intensity=INTENSITIES[match["level"]],
                gender=actor["Sex"].lower(),
                age=actor["Age"],
                text=SENTENCES[match["sentence"]],
                votes=votes.get(clip),
            )

    def _actors(self) -> dict[str, dict[str, str]]:
        table = self.find(DEMOGRAPHICS)
        return {row["ActorID"]: row for row in read_rows(table, ["ActorID", "Age", "Sex"])} if table else {}

    def _votes(self) -> dict[str, dict[str, float]]:
        if (table := self.find(TABULATED_VOTES)) is None:
            return {}
        # The column of row numbers has no name.
        return {
            row["fileName"]: {label: float(row[letter]) for letter, label in VOTES.items()}
            for row in read_rows(table, ["", "fileName", *VOTES])
            if row[""][0] == VOICE_ONLY
        }
