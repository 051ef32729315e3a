"""JTES: acted Japanese of a hundred speakers, 50 sentences of tweets in each of four emotions."""

from collections.abc import Iterator
from itertools import product

from emoicl.training.corpora.base import CorpusReader, Recording


GENDERS = {"f": "female", "m": "male"}
NUM_SPEAKERS = 50
NUM_SENTENCES = 50


class Jtes(CorpusReader):
    """
    JTES, version 1.1: the folder with `wav` in it.

    A path is `wav/{speaker}/{emotion}/{speaker}_{emotion}_{sentence}.wav`, for 50 women (f01 to f50), 50 men (m01 to
    m50), four emotions and 50 sentences of each: 20,000 clips. Each emotion has sentences of its own. Source: Takeishi
    et al. 2016; the names as listed by a public file list of version 1.1.
    """

    name = "jtes"
    pretty_name = "JTES (Japanese Twitter-based emotional speech)"
    license = "JTES terms (research only, asked for from the owners)"
    license_url = "https://doi.org/10.1109/ICSDA.2016.7918977"
    homepage = "https://doi.org/10.1109/ICSDA.2016.7918977"
    citation = """\
@inproceedings{takeishi2016jtes,
  title = {Construction and analysis of phonetically and prosodically balanced emotional speech database},
  author = {Takeishi, Emika and Nose, Takashi and Chiba, Yuya and Ito, Akinori},
  booktitle = {Conference of the Oriental Chapter of the International Committee for Coordination and Standardization
               of Speech Databases and Assessment Techniques (O-COCOSDA)},
  year = {2016},
  doi = {10.1109/ICSDA.2016.7918977}
}"""
    languages = ("ja",)
    elicitation = "acted"
    description = (
        "50 women and 50 men read 50 tweets for each of four emotions, chosen for their sounds and prosody, in that "
        "emotion."
    )
    label_meaning = (
        "The emotion that the speaker was asked to show. Each sentence is said in one emotion only, and says what "
        "fits it: the words give the emotion away."
    )
    label_map = {
        "ang": "anger",
        "joy": "joy",
        "neu": "neutral",
        "sad": "sadness",
    }
    layout = "wav/f01/ang/f01_ang_01.wav and so on"
    required = ("wav",)

    def recordings(self) -> Iterator[Recording]:
        speakers = [f"{letter}{number:02}" for letter in GENDERS for number in range(1, NUM_SPEAKERS + 1)]
        for speaker, emotion, sentence in product(speakers, self.label_map, range(1, NUM_SENTENCES + 1)):
            yield Recording(
                path=f"wav/{speaker}/{emotion}/{speaker}_{emotion}_{sentence:02}.wav",
                speaker_id=speaker,
                native_label=emotion,
                sentence_id=f"{emotion}-{sentence:02}",
                gender=GENDERS[speaker[0]],
            )
