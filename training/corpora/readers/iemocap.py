"""IEMOCAP: pairs of actors in scripted and improvised dialogues, with the votes of evaluators."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from emoicl.training.corpora.base import CorpusReader, Recording, read_text


SESSIONS = tuple(f"Session{number}" for number in range(1, 6))
EVALUATIONS = "dialog/EmoEvaluation"
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")
TURN = re.compile(r"\[[\d. -]+\]\t(?P<clip>\S+)\t(?P<label>\w+)\t\[.*\]")
# Only E are evaluators; C-F1 and C-M1 are the actors, who evaluate themselves.
VOTE = re.compile(r"C-E\d+:(?P<choices>[^(]*).*")
CLIP = re.compile(r"(?P<dialogue>(?P<session>Ses0[1-5])[FM]_\w+)_(?P<gender>[FM])\w*\d+")
TRANSCRIPT = re.compile(r"(?P<clip>Ses\w+) \[[\d. -]+\]:\s*(?P<text>.*)")
GENDERS = {"F": "female", "M": "male"}
CHOICES = {
    "Anger": "ang",
    "Happiness": "hap",
    "Excited": "exc",
    "Sadness": "sad",
    "Frustration": "fru",
    "Fear": "fea",
    "Surprise": "sur",
    "Neutral": "neu",
    "Neutral state": "neu",
    "Disgust": "dis",
    "Other": "oth",
}


class Iemocap(CorpusReader):
    """
    IEMOCAP, full release: the folder with `Session1` to `Session5`.

    `Session1/dialog/EmoEvaluation/Ses01F_impro01.txt` has a line for each turn, `[6.29 - 8.23]<tab>
    Ses01F_impro01_F000<tab>neu<tab>[2.5, 2.5, 2.5]`, and below it one for each evaluator, `C-E2:<tab>Neutral;<tab>()`.
    An evaluator may choose several emotions; each counts as one vote. The clip is
    `Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav`: the last letter (F000) is who speaks, the first
    one (Ses01F) who wears the markers, so that the speaker is `Ses01F`, or `Ses01M` for M000. Where no emotion has the
    majority the owners write `xxx`, here `no_agreement`; those clips are kept for their votes. Source: the description
    of the evaluation files in the release, as quoted by public loaders, and Busso et al. 2008.
    """

    name = "iemocap"
    pretty_name = "IEMOCAP"
    license = "IEMOCAP release agreement (research only)"
    license_url = "https://sail.usc.edu/iemocap/iemocap_release.htm"
    homepage = "https://sail.usc.edu/iemocap/"
    citation = """\
@article{busso2008iemocap,
  title = {{IEMOCAP}: Interactive emotional dyadic motion capture database},
  author = {Busso, Carlos and Bulut, Murtaza and Lee, Chi-Chun and Kazemzadeh, Abe and Mower, Emily and Kim, Samuel and
            Chang, Jeannette N. and Lee, Sungbok and Narayanan, Shrikanth S.},
  journal = {Language Resources and Evaluation},
  volume = {42},
  number = {4},
  pages = {335--359},
  year = {2008},
  doi = {10.1007/s10579-008-9076-6}
}"""
    languages = ("en",)
    elicitation = "acted"
    description = (
        "Ten actors (5 women, 5 men), a pair in each of five sessions, play scripts and improvise on given "
        "situations; the dialogues are cut into turns."
    )
    label_meaning = (
        "The emotion that most evaluators chose, from sound and picture and in the course of the dialogue. Excitement "
        "and joy are two classes, though often merged in the literature. no_agreement: none has a majority; "
        "other: none of those offered. Neither of the two is an emotion to be recognized."
    )
    label_map = {
        "neu": "neutral",
        "hap": "joy",
        "exc": "excitement",
        "ang": "anger",
        "sad": "sadness",
        "fru": "frustration",
        "fea": "fear",
        "sur": "surprise",
        "dis": "disgust",
        "oth": "other",
        "xxx": "no_agreement",
    }
    layout = (
        "Session1 to Session5, each with dialog/EmoEvaluation/*.txt, dialog/transcriptions/*.txt and "
        "sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav and so on"
    )
    required = tuple(f"{session}/{EVALUATIONS}" for session in SESSIONS)
    ignored = {"Session?/dialog/*": "a whole dialogue, of which the clips are parts"}
    has_votes = True

    def recordings(self) -> Iterator[Recording]:
        for session in SESSIONS:
            texts = self._texts(session)
            for path in sorted((self.source / session / EVALUATIONS).glob("Ses*.txt")):
                for clip, label, votes in _turns(path):
                    match = CLIP.fullmatch(clip)
                    if not match:
                        raise ValueError(f"{path}: {clip!r} is no name of a turn, such as Ses01F_impro01_F000.")
                    yield Recording(
                        path=f"{session}/sentences/wav/{match['dialogue']}/{clip}.wav",
                        speaker_id=match["session"] + match["gender"],
                        native_label=label,
                        gender=GENDERS[match["gender"]],
                        text=texts.get(clip, ""),
                        votes=votes,
                    )

    def _texts(self, session: str) -> dict[str, str]:
        """The words of each clip, without those that are left out of the evaluation and so have no name."""
        texts = {}
        for path in sorted((self.source / session / "dialog" / "transcriptions").glob("Ses*.txt")):
            for line in read_text(path, ENCODINGS).splitlines():
                if match := TRANSCRIPT.fullmatch(line.strip()):
                    texts[match["clip"]] = match["text"]
        return texts


def _turns(path: Path) -> Iterator[tuple[str, str, Counter[str]]]:
    """Name, label and votes of each turn of a dialogue."""
    turn: tuple[str, str, Counter[str]] | None = None
    for number, line in enumerate(read_text(path, ENCODINGS).splitlines(), start=1):
        if match := TURN.fullmatch(line.strip()):
            if turn:
                yield turn
            turn = match["clip"], match["label"], Counter()
        elif turn and (match := VOTE.fullmatch(line.strip())):
            choices = [choice.strip() for choice in match["choices"].split(";") if choice.strip()]
            if unknown := [choice for choice in choices if choice not in CHOICES]:
                raise ValueError(f"{path}: line {number}: {unknown} is none of {', '.join(CHOICES)}.")
            turn[2].update({CHOICES[choice] for choice in choices})
    if turn:
        yield turn
