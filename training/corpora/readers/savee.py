"""SAVEE, the Surrey audio-visual expressed emotion database: acted British English of four men."""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from emoicl.training.corpora.base import CorpusReader, Recording


SPEAKERS = ("DC", "JE", "JK", "KL")
NUM_SENTENCES = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
NAME = re.compile(rf"({'|'.join(SPEAKERS)})_(a|d|f|h|n|sa|su)\d\d")


class Savee(CorpusReader):
    """
    The audio of SAVEE: `AudioData.zip` unpacked, or a copy with all files in one folder (`ALL/DC_a01.wav`).

    A name is the emotion's first letters and the sentence's number, the same in every speaker's folder. Of the 15
    sentences of an emotion, 3 are spoken in all emotions, 2 belong to the emotion (and are spoken neutrally too), and
    10 are in no other emotion. The owners list neither words nor which numbers the common ones have: so `text` is
    empty, and `sentence_id` is the emotion's own (`a04`). Source: `Info.txt` in the archive, and the database's site.
    """

    name = "savee"
    pretty_name = "SAVEE"
    license = "SAVEE terms (research only, on registration)"
    license_url = "http://kahlan.eps.surrey.ac.uk/savee/Download.html"
    homepage = "http://kahlan.eps.surrey.ac.uk/savee/"
    citation = """\
@incollection{haq2010savee,
  title = {Multimodal Emotion Recognition},
  author = {Haq, Sanaul and Jackson, Philip J. B.},
  booktitle = {Machine Audition: Principles, Algorithms and Systems},
  editor = {Wang, Wenwu},
  publisher = {IGI Global},
  pages = {398--423},
  year = {2010}
}"""
    languages = ("en",)
    elicitation = "acted"
    description = (
        "Four men, native speakers of British English and 27 to 31 years old, speak TIMIT sentences in seven "
        "emotions, filmed with markers on their faces."
    )
    label_meaning = (
        "The emotion that the speaker was asked to show. Most sentences are spoken in one emotion only, so that the "
        "words tell it."
    )
    label_map = {
        "a": "anger",
        "d": "disgust",
        "f": "fear",
        "h": "joy",
        "n": "neutral",
        "sa": "sadness",
        "su": "surprise",
    }
    layout = "AudioData/DC/a01.wav and so on, with the folders DC, JE, JK and KL"
    clip_name = NAME

    def name_of(self, path: Path) -> str:
        return super().name_of(path) or super().name_of(path.with_stem(f"{path.parent.name}_{path.stem}"))

    def recordings(self) -> Iterator[Recording]:
        for speaker, emotion in product(SPEAKERS, self.label_map):
            for number in range(1, NUM_SENTENCES[emotion] + 1):
                sentence = f"{emotion}{number:02}"
                clip = f"{speaker}_{sentence}"
                yield Recording(
                    path=self.clips.get(clip, f"AudioData/{speaker}/{sentence}.wav"),
                    speaker_id=speaker,
                    native_label=emotion,
                    sentence_id=sentence,
                    gender="male",
                    source_id=clip,
                )
