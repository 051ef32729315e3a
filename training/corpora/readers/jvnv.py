"""JVNV: acted Japanese of four speakers, in which each sentence holds a nonverbal vocalization."""

import re
from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording, read_text


TRANSCRIPTION = "transcription.csv"
SPEAKERS = {"F1": "female", "F2": "female", "M1": "male", "M2": "male"}
CLIP = re.compile(
    r"(?P<speaker>[FM][12])/(?P<emotion>[a-z]+)/(?P<session>regular|free)/"
    r"(?P=speaker)_(?P<sentence>(?P=emotion)_(?P=session)_\d+)\.wav"
)


class Jvnv(CorpusReader):
    """
    JVNV, version 1: `jvnv_ver1.zip`, unpacked; the folder `jvnv_v1`, with `F1`, `F2`, `M1` and `M2`.

    A path is `{speaker}/{emotion}/{session}/{speaker}_{emotion}_{session}_{number}.wav`. In the session `regular` the
    vocalization is prescribed, in `free` the speaker chooses it. `transcription.csv` has lines
    `anger_regular_01|vocalization|text`, the same for all speakers. Not every speaker says every sentence. Source: Xin
    et al. 2024; the lines and names as read by several public loaders.
    """

    name = "jvnv"
    pretty_name = "JVNV"
    license = "CC-BY-SA-4.0"
    license_url = "https://creativecommons.org/licenses/by-sa/4.0/"
    homepage = "https://sites.google.com/site/shinnosuketakamichi/research-topics/jvnv_corpus"
    citation = """\
@article{xin2024jvnv,
  title = {{JVNV}: A Corpus of {Japanese} Emotional Speech With Verbal Content and Nonverbal Expressions},
  author = {Xin, Detai and Jiang, Junfeng and Takamichi, Shinnosuke and Saito, Yuki and Aizawa, Akiko and
            Saruwatari, Hiroshi},
  journal = {IEEE Access},
  volume = {12},
  pages = {19752--19764},
  year = {2024},
  doi = {10.1109/ACCESS.2024.3360885}
}"""
    languages = ("ja",)
    elicitation = "acted"
    description = (
        "Two women and two men speak sentences written by a language model for six emotions, each with a nonverbal "
        "vocalization such as a laugh or a sob in it; 3.94 hours."
    )
    label_meaning = (
        "The emotion that the speaker was asked to show. Each sentence is said in one emotion only, and says what "
        "fits it: the words give the emotion away."
    )
    label_map = {
        "anger": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "joy",
        "sad": "sadness",
        "surprise": "surprise",
    }
    layout = f"{TRANSCRIPTION}, and F1/anger/regular/F1_anger_regular_01.wav and so on"
    required = (TRANSCRIPTION, *SPEAKERS)
    num_recordings = 1615

    def recordings(self) -> Iterator[Recording]:
        texts = self._texts()
        for path in self.files("*/*/*/*"):
            match = CLIP.fullmatch(path.as_posix())
            if not match or match["emotion"] not in self.label_map:
                continue
            yield Recording(
                path=path.as_posix(),
                speaker_id=match["speaker"],
                native_label=match["emotion"],
                sentence_id=match["sentence"],
                gender=SPEAKERS[match["speaker"]],
                text=texts.get(match["sentence"], ""),
            )

    def _texts(self) -> dict[str, str]:
        """The words of each sentence."""
        path = self.source / TRANSCRIPTION
        texts = {}
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            parts = line.split("|")
            if len(parts) != 3:
                raise ValueError(f"{path}: line {number} is {line!r}, where name|vocalization|text is expected.")
            texts[parts[0]] = parts[2].strip()
        return texts
