"""ESD, the emotional speech dataset: acted English and Mandarin, 350 parallel sentences in five emotions."""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from emoicl.training.corpora.base import CorpusReader, Recording, read_text


WOMEN = ("0001", "0002", "0003", "0007", "0009", "0015", "0016", "0017", "0018", "0019")
# The clips of a speaker are numbered through: 350 sentences of the first of these, then of the second, ...
EMOTIONS = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
NUM_SENTENCES = 350
NAME = re.compile(r"(00(?:0[1-9]|1\d|20))_(00[01]\d{3})")
LINE = re.compile(r"\s*(?P<clip>\d{4}_\d{6})\s+(?P<rest>.*\S)\s*")
# Some transcripts are UTF-16, which shows; the other Chinese ones are GB 2312, the other English ones not all UTF-8.
ENCODINGS = {"zh": ("utf-8-sig", "gb18030"), "en": ("utf-8-sig", "cp1252", "latin-1")}


class Esd(CorpusReader):
    """
    ESD: the folder "Emotion Speech Dataset", with `0001` to `0020` in it.

    Speakers 0001 to 0010 speak Mandarin, 0011 to 0020 English. Each has a transcript, `0011/0011.txt`, of lines
    `0011_000001<tab>text<tab>emotion` in one of several encodings, and a folder for each emotion. Clip n of a speaker
    is sentence (n - 1) % 350 + 1 of its language, the same in all emotions. Some releases divide an emotion's folder
    into `train`, `test` and `evaluation`, by sentence and not by speaker; it is not kept. Source: ReadMe.txt of the
    release, and Zhou et al. 2022.
    """

    name = "esd"
    pretty_name = "ESD (emotional speech dataset)"
    license = "ESD license (research only)"
    license_url = "https://github.com/HLTSingapore/Emotional-Speech-Data"
    homepage = "https://github.com/HLTSingapore/Emotional-Speech-Data"
    citation = """\
@article{zhou2022esd,
  title = {Emotional voice conversion: Theory, databases and {ESD}},
  author = {Zhou, Kun and Sisman, Berrak and Liu, Rui and Li, Haizhou},
  journal = {Speech Communication},
  volume = {137},
  pages = {1--18},
  year = {2022},
  doi = {10.1016/j.specom.2021.11.006}
}"""
    languages = ("zh", "en")
    elicitation = "acted"
    description = (
        "10 native speakers of English and 10 of Mandarin (5 women, 5 men each) speak 350 sentences of their language "
        "in five emotions, in a studio."
    )
    label_meaning = "The emotion that the speaker was asked to show."
    label_map = {
        "Neutral": "neutral",
        "Angry": "anger",
        "Happy": "joy",
        "Sad": "sadness",
        "Surprise": "surprise",
    }
    layout = "a folder for each speaker with a transcript, and one for each emotion: 0011/0011.txt, 0011/Angry/..."
    clip_name = NAME

    def name_of(self, path: Path) -> str:
        """Not of a clip in the folder of another emotion than its number stands for."""
        if not (name := super().name_of(path)) or not 0 < (number := int(name[5:])) <= NUM_SENTENCES * len(EMOTIONS):
            return ""
        others = {*EMOTIONS} - {EMOTIONS[(number - 1) // NUM_SENTENCES]}
        return "" if others.intersection(path.parts) else name

    def absent(self) -> dict[str, str]:
        speakers = sorted({name[:4] for name in self.clips})
        return {f"{name}.txt": "texts are unknown" for name in speakers if self.find(f"{name}.txt") is None}

    def recordings(self) -> Iterator[Recording]:
        for number in range(1, 21):
            speaker = f"{number:04}"
            language = "zh" if number <= 10 else "en"
            texts = self._texts(speaker, language)
            for (block, emotion), sentence in product(enumerate(EMOTIONS), range(1, NUM_SENTENCES + 1)):
                clip = f"{speaker}_{block * NUM_SENTENCES + sentence:06}"
                yield Recording(
                    path=self.clips.get(clip, f"{speaker}/{emotion}/{clip}.wav"),
                    speaker_id=speaker,
                    native_label=emotion,
                    sentence_id=f"{language}-{sentence:03}",
                    gender="female" if speaker in WOMEN else "male",
                    text=texts.get(clip, ""),
                )

    def _texts(self, speaker: str, language: str) -> dict[str, str]:
        """The words of each clip."""
        if (path := self.find(f"{speaker}.txt")) is None:
            return {}
        lines = read_text(path, ENCODINGS[language]).splitlines()
        return {match["clip"]: _words(match["rest"]) for line in lines if (match := LINE.fullmatch(line))}


def _words(rest: str) -> str:
    """What is said, without the emotion after it: after a tab (in either language), or, in a few lines, a blank."""
    text, tab, _ = rest.rpartition("\t")
    if tab:
        return text.strip()
    text, _, last = rest.rpartition(" ")
    return text if last in EMOTIONS else rest
