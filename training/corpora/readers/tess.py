"""TESS, the Toronto emotional speech set: acted Canadian English of two women, one word in one phrase."""

import re
from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording


AGES = {"OAF": "64", "YAF": "26"}
NAME = re.compile(r"(?P<speaker>OAF|YAF|OA)_(?P<word>[a-z-]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)")


class Tess(CorpusReader):
    """
    TESS: the files of the Dataverse record, all in one folder or in one for each actress and emotion.

    A name has three parts: actress (OAF the older, YAF the younger one), the word after "Say the word", and emotion
    (ps is pleasant surprise). `OA_bite_neutral.wav` lacks a letter of OAF. Folders are not looked at: they spell the
    emotions in several ways. Source: the Dataverse record doi:10.5683/SP2/E8H2MF, and its file names.
    """

    name = "tess"
    pretty_name = "TESS (Toronto emotional speech set)"
    license = "CC-BY-NC-ND-4.0"
    license_url = "https://creativecommons.org/licenses/by-nc-nd/4.0/"
    homepage = "https://doi.org/10.5683/SP2/E8H2MF"
    citation = """\
@misc{pichorafuller2020tess,
  title = {Toronto emotional speech set ({TESS})},
  author = {Pichora-Fuller, M. Kathleen and Dupuis, Kate},
  publisher = {Borealis},
  year = {2020},
  doi = {10.5683/SP2/E8H2MF}
}"""
    languages = ("en",)
    elicitation = "acted"
    description = (
        'Two actresses of Toronto, 26 and 64 years old, speak 200 words in the phrase "Say the word ..." in seven '
        "emotions."
    )
    label_meaning = "The emotion that the actress was asked to show. Surprise is pleasant surprise."
    label_map = {
        "angry": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "joy",
        "neutral": "neutral",
        "ps": "surprise",
        "sad": "sadness",
    }
    layout = "OAF_back_angry.wav, YAF_back_ps.wav and so on, in any folders"
    clip_name = NAME
    num_recordings = 2800

    def recordings(self) -> Iterator[Recording]:
        for name, path in self.clips.items():
            actress, word, emotion = NAME.fullmatch(name).groups()  # pyright: ignore[reportOptionalMemberAccess]
            speaker = "YAF" if actress == "YAF" else "OAF"
            yield Recording(
                path=path,
                speaker_id=speaker,
                native_label=emotion,
                sentence_id=word,
                gender="female",
                age=AGES[speaker],
                text=f"Say the word {word}.",
            )
