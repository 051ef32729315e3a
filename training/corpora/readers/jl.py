"""JL-corpus: acted New Zealand English of four speakers, in five primary and five secondary emotions."""

import re
from collections.abc import Iterator
from itertools import product

from emoicl.training.corpora.base import CorpusReader, Recording, read_text


FOLDER = "Raw JL corpus (unchecked and unannotated)/JL(wav+txt)"
SPEAKERS = ("female1", "female2", "male1", "male2")
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")


class Jl(CorpusReader):
    """
    The JL-corpus as its owners ship it: `Raw JL corpus (unchecked and unannotated)/JL(wav+txt)`.

    A name has four parts: speaker, emotion, sentence (1 to 15, each a and b) and repetition. Beside each clip lies a
    text file of what is said. The same number is not always the same sentence: 14a differs from emotion to emotion,
    and 11a of the secondary emotions from that of the primary ones. Thus the words themselves, in lower case, are the
    `sentence_id`. 60 clips of each speaker and emotion. Source: README.md and Format_Intro.txt of the release, its
    file names and texts, and James et al. 2018.
    """

    name = "jl-corpus"
    pretty_name = "JL-corpus"
    license = "CC0-1.0"
    license_url = "https://www.kaggle.com/datasets/tli725/jl-corpus"
    homepage = "https://github.com/tli725/JL-Corpus"
    citation = """\
@inproceedings{james2018jl,
  title = {An Open Source Emotional Speech Corpus for Human Robot Interaction Applications},
  author = {James, Jesin and Tian, Li and Watson, Catherine Inez},
  booktitle = {Proceedings of Interspeech},
  pages = {2768--2772},
  year = {2018},
  doi = {10.21437/Interspeech.2018-1349}
}"""
    languages = ("en",)
    elicitation = "acted"
    description = (
        "Four speakers of New Zealand English (two women, two men) speak sentences with evenly distributed long "
        "vowels in five primary emotions and five that matter when people talk to robots."
    )
    label_meaning = (
        "The emotion that the speaker was asked to show. Some sentences of the secondary emotions are said in one "
        "emotion only: their words give it away."
    )
    label_map = {
        "angry": "anger",
        "sad": "sadness",
        "neutral": "neutral",
        "happy": "joy",
        "excited": "excitement",
        "anxious": "anxiety",
        "apologetic": "apologetic",
        "assertive": "assertive",
        "concerned": "concern",
        "encouraging": "encouraging",
    }
    layout = f"{FOLDER}/female1_angry_10a_1.wav and so on, each with a .txt beside it"
    required = (FOLDER,)
    ignored = {
        "*/Perception test material on Qualtrics/*": "copies that listeners were trained with",
        "raw jl corpus*": "a partial copy of the corpus, its folder in lower case",
    }

    def recordings(self) -> Iterator[Recording]:
        for speaker, emotion, number, version, take in product(SPEAKERS, self.label_map, range(1, 16), "ab", "12"):
            path = f"{FOLDER}/{speaker}_{emotion}_{number}{version}_{take}.wav"
            text = self._text(path)
            yield Recording(
                path=path,
                speaker_id=speaker,
                native_label=emotion,
                sentence_id=" ".join(re.findall(r"[\w']+", text.lower())),
                take=take,
                gender=speaker[:-1],
                text=text,
            )

    def _text(self, path: str) -> str:
        transcript = (self.source / path).with_suffix(".txt")
        return " ".join(read_text(transcript, ENCODINGS).split()) if transcript.is_file() else ""
