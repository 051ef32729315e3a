"""SUBESCO, the SUST Bangla emotional speech corpus: acted Bangla, ten sentences in seven emotions."""

import re
from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording


NAME = re.compile(
    r"(?P<gender>[FM])_(?P<number>\d+)_[A-Z]+_S_(?P<sentence>\d+)"
    r"_(?P<emotion>ANGRY|DISGUST|FEAR|HAPPY|NEUTRAL|SAD|SURPRISE)_(?P<take>\d)\]?"
)


class Subesco(CorpusReader):
    """
    SUBESCO: `SUBESCO.zip` unpacked.

    A name has seven parts, as in `F_02_MONIKA_S_1_NEUTRAL_5.wav`: gender, speaker's number (counted for each gender),
    speaker's name, S for sentence and its number, emotion and take. One name, `F_02_MONIKA_S_2_SURPRISE_3].wav`, has a
    bracket too many. 20 speakers, 10 sentences, 7 emotions and 5 takes make 7000. Source: the Zenodo record 4526477,
    the owners' card on the Hub, and Sultana et al. 2021.
    """

    name = "subesco"
    pretty_name = "SUBESCO"
    license = "CC-BY-4.0"
    license_url = "https://creativecommons.org/licenses/by/4.0/"
    homepage = "https://zenodo.org/records/4526477"
    citation = """\
@article{sultana2021subesco,
  title = {{SUST Bangla Emotional Speech Corpus (SUBESCO)}: An audio-only emotional speech corpus for {Bangla}},
  author = {Sultana, Sadia and Rahman, M. Shahidur and Selim, M. Reza and Iqbal, M. Zafar},
  journal = {PLoS ONE},
  volume = {16},
  number = {4},
  pages = {e0250173},
  year = {2021},
  doi = {10.1371/journal.pone.0250173}
}"""
    languages = ("bn",)
    elicitation = "acted"
    description = (
        "20 professional actors (10 women, 10 men) speak ten Bangla sentences in seven emotions, five times each, in "
        "a studio."
    )
    label_meaning = "The emotion that the actor was asked to show. 50 listeners recognized 71 % of the clips."
    label_map = {
        "ANGRY": "anger",
        "DISGUST": "disgust",
        "FEAR": "fear",
        "HAPPY": "joy",
        "NEUTRAL": "neutral",
        "SAD": "sadness",
        "SURPRISE": "surprise",
    }
    layout = "F_01_OISHI_S_10_ANGRY_1.wav and so on, in one folder"
    num_recordings = 7000

    def recordings(self) -> Iterator[Recording]:
        for path in self.files():
            if match := NAME.fullmatch(path.stem):
                yield Recording(
                    path=path.as_posix(),
                    speaker_id=f"{match['gender']}_{match['number']}",
                    native_label=match["emotion"],
                    sentence_id=match["sentence"],
                    take=match["take"],
                    gender="female" if match["gender"] == "F" else "male",
                )
