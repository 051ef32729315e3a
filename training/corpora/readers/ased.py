"""ASED, the Amharic speech emotion dataset: Amharic in four dialects, acted by 65 volunteers in five emotions."""

import re
from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording


# The letter is all that tells the emotion; the digit is its folder's. One name has a capital letter.
NAME = re.compile(
    r"(?P<emotion>[nfhsa])[1-5]-(?P<sentence>0[1-7])-(?P<take>0[12])-(?P<gender>0[12])-(?P<speaker>\d\d)",
    re.IGNORECASE,
)
COMMON_SENTENCES = ("01", "02")
GENDERS = {"01": "female", "02": "male"}


class Ased(CorpusReader):
    """
    ASED as its git repository has it: five folders, `01Neutral` to `05Angry`.

    A name has five parts, as in `a5-03-01-02-50.wav`: emotion's letter and number, sentence, repetition, gender and
    speaker. Sentences 01 and 02 are the same in all emotions; 03 to 07 are others in every emotion, so their
    `sentence_id` has its letter (`a03`). Of 4550 recordings the judges accepted 2474. Source: README.md of the owners'
    repository; that 01 and 02 are the two common sentences it speaks of was heard by a speech recognizer
    (Strong-AI-Lab/emotion, `datasets/ASED`).
    """

    name = "ased"
    pretty_name = "ASED (Amharic speech emotion dataset)"
    license = "freely available, no license stated"
    license_url = "https://github.com/Ethio2021/ASED_V1"
    homepage = "https://github.com/Ethio2021/ASED_V1"
    citation = """\
@article{retta2022ased,
  title = {A New {Amharic} Speech Emotion Dataset and Classification Benchmark},
  author = {Retta, Ephrem Afele and Almekhlafi, Eiad and Sutcliffe, Richard and Mhamed, Mustafa and Ali, Haider and
            Feng, Jun},
  journal = {ACM Transactions on Asian and Low-Resource Language Information Processing},
  year = {2022},
  doi = {10.1145/3529759}
}"""
    languages = ("am",)
    elicitation = "acted"
    description = (
        "65 volunteers (25 women, 40 men), native speakers of Amharic in four dialects, speak two sentences in five "
        "emotions and five more for each emotion, twice each."
    )
    label_meaning = (
        "The emotion that the speaker was asked to show, accepted by at least five of eight judges. Five of the seven "
        "sentences of an emotion are spoken in no other, so that the words tell it: only sentences 01 and 02 do not."
    )
    label_map = {
        "n": "neutral",
        "f": "fear",
        "h": "joy",
        "s": "sadness",
        "a": "anger",
    }
    layout = "the folders 01Neutral to 05Angry with files such as 05Angry/a5-03-01-02-50.wav"
    required = ("01Neutral", "05Angry")
    num_recordings = 2474

    def recordings(self) -> Iterator[Recording]:
        for path in self.files("0*/*"):
            if match := NAME.fullmatch(path.stem):
                emotion, sentence = match["emotion"].lower(), match["sentence"]
                yield Recording(
                    path=path.as_posix(),
                    speaker_id=match["speaker"],
                    native_label=emotion,
                    sentence_id=sentence if sentence in COMMON_SENTENCES else emotion + sentence,
                    take=match["take"],
                    gender=GENDERS[match["gender"]],
                )
