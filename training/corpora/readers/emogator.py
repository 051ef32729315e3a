"""EmoGator: vocal bursts (laughs, sighs, moans) of 357 people in 30 categories."""

from collections.abc import Iterator
from itertools import product

from emoicl.training.corpora.base import CorpusReader, Recording


CATEGORIES = (
    "adoration",
    "amusement",
    "anger",
    "awe",
    "confusion",
    "contempt",
    "contentment",
    "desire",
    "disappointment",
    "disgust",
    "distress",
    "ecstasy",
    "elation",
    "embarrassment",
    "fear",
    "guilt",
    "interest",
    "neutral",
    "pain",
    "pride",
    "realization",
    "relief",
    "romantic_love",
    "sadness",
    "serenity",
    "shame",
    "surprise_negative",
    # The positive one is the paper's surprise.
    "surprise",
    "sympathy",
    "triumph",
)
NUM_CONTRIBUTORS = 357


class EmoGator(CorpusReader):
    """
    EmoGator as its git repository has it; the clips are those of `data/mp3`.

    A name is `NNNNNN-EE-I.mp3`: contributor, category (01 to 30) and instance (1 to 3). Every contributor has 90
    clips. Source: README.md of the owner's repository.
    """

    name = "emogator"
    pretty_name = "EmoGator"
    license = "Apache-2.0"
    license_url = "https://www.apache.org/licenses/LICENSE-2.0"
    homepage = "https://github.com/fredbuhl/EmoGator"
    citation = """\
@article{buhl2023emogator,
  title = {{EmoGator}: A New Open Source Vocal Burst Dataset with Baseline Machine Learning Classification
           Methodologies},
  author = {Buhl, Fred W.},
  journal = {arXiv preprint arXiv:2301.00508},
  year = {2023}
}"""
    languages = ()
    elicitation = "acted"
    description = (
        "357 contributors recorded themselves, on their own devices, making vocal bursts without words for 30 "
        "categories of emotion, three times each."
    )
    label_meaning = "The category that the contributor was asked to express."
    label_map = {f"{number:02}": category for number, category in enumerate(CATEGORIES, start=1)}
    layout = "data/mp3/000001-01-1.mp3 and so on"
    required = ("data/mp3",)

    def recordings(self) -> Iterator[Recording]:
        for contributor, category, take in product(range(1, NUM_CONTRIBUTORS + 1), self.label_map, "123"):
            speaker = f"{contributor:06}"
            yield Recording(
                path=f"data/mp3/{speaker}-{category}-{take}.mp3",
                speaker_id=speaker,
                native_label=category,
                take=take,
            )
