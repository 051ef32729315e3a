"""RAVDESS: acted North American English, two sentences in eight emotions."""

import re
from collections.abc import Iterator
from itertools import product

from emoicl.training.corpora.base import CorpusReader, Recording


SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
INTENSITIES = {"01": "normal", "02": "strong"}
NEUTRAL = "01"
NAME = re.compile(r"03-01-0[1-8]-0[12]-0[12]-0[12]-(0[1-9]|1\d|2[0-4])")


class Ravdess(CorpusReader):
    """
    The speech part of RAVDESS, audio only: `Audio_Speech_Actors_01-24.zip`, unpacked, with or without its folders.

    A name has seven parts: modality (03 audio only), vocal channel (01 speech), emotion, intensity, statement,
    repetition and actor. 60 clips of each of 24 actors; neutral has no strong intensity; odd actors are male. Source:
    the description of the Zenodo record 1188976.
    """

    name = "ravdess"
    pretty_name = "RAVDESS (speech)"
    license = "CC-BY-NC-SA-4.0"
    license_url = "https://creativecommons.org/licenses/by-nc-sa/4.0/"
    homepage = "https://zenodo.org/records/1188976"
    citation = """\
@article{livingstone2018ravdess,
  title = {The {Ryerson} Audio-Visual Database of Emotional Speech and Song ({RAVDESS}): A dynamic, multimodal set of
           facial and vocal expressions in {North American English}},
  author = {Livingstone, Steven R. and Russo, Frank A.},
  journal = {PLoS ONE},
  volume = {13},
  number = {5},
  pages = {e0196391},
  year = {2018},
  doi = {10.1371/journal.pone.0196391}
}"""
    languages = ("en",)
    elicitation = "acted"
    description = (
        "24 professional actors (12 women, 12 men) speak two sentences in a neutral North American accent, in eight "
        "emotions at two intensities, twice each; recorded in a studio."
    )
    label_meaning = "The emotion that the actor was asked to show. Calm is a baseline like neutral, but pleasant."
    label_map = {
        "01": "neutral",
        "02": "calm",
        "03": "joy",
        "04": "sadness",
        "05": "anger",
        "06": "fear",
        "07": "disgust",
        "08": "surprise",
    }
    layout = "the folders Actor_01 to Actor_24 with files such as Actor_01/03-01-05-02-01-01-01.wav"
    clip_name = NAME
    ignored = {
        "03-02-*.wav": "song, which is another part of RAVDESS",
        "*/03-02-*.wav": "song, which is another part of RAVDESS",
        "*.mp4": "video",
    }

    def recordings(self) -> Iterator[Recording]:
        actors = [f"{number:02}" for number in range(1, 25)]
        for actor, emotion, intensity, sentence, take in product(
            actors, self.label_map, INTENSITIES, SENTENCES, ("01", "02")
        ):
            if emotion == NEUTRAL and INTENSITIES[intensity] == "strong":
                continue
            clip = f"03-01-{emotion}-{intensity}-{sentence}-{take}-{actor}"
            yield Recording(
                path=self.clips.get(clip, f"Actor_{actor}/{clip}.wav"),
                speaker_id=actor,
                native_label=emotion,
                sentence_id=sentence,
                take=take,
                intensity=INTENSITIES[intensity],
                gender="male" if int(actor) % 2 else "female",
                text=SENTENCES[sentence],
            )
