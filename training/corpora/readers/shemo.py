"""ShEMO, the Sharif emotional speech database: Persian, cut from radio plays and labeled by listeners."""

import re
from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording


NAME = re.compile(r"(?P<speaker>(?P<gender>[FM])\d\d)(?P<emotion>[AFHNSW])\d+")


class ShEmo(CorpusReader):
    """
    ShEMO: `female.zip` and `male.zip`, unpacked side by side.

    A name has four parts, as in `F21N05.wav`: gender, speaker's number (counted for each gender), emotion's letter and
    the clip's number. The clips are of different words, and have no sentence. The transcripts of `shemo.json` are not
    taken: its names and those of the clips do not agree throughout (some 160 of its names belong to no clip). Source:
    README.md of the owners' repository, Nezami et al. 2019, and on the transcripts the repository
    aliyzd95/ShEMO-Modification.
    """

    name = "shemo"
    pretty_name = "ShEMO (Sharif emotional speech database)"
    license = "Apache-2.0"
    license_url = "https://huggingface.co/datasets/pariajm/sharif_emotional_speech_dataset"
    homepage = "https://github.com/pariajm/sharif-emotional-speech-dataset"
    citation = """\
@article{nezami2019shemo,
  title = {{ShEMO}: a large-scale validated database for {Persian} speech emotion detection},
  author = {Mohamad Nezami, Omid and Jamshid Lou, Paria and Karami, Mansoureh},
  journal = {Language Resources and Evaluation},
  volume = {53},
  number = {1},
  pages = {1--16},
  year = {2019},
  doi = {10.1007/s10579-018-9427-x}
}"""
    languages = ("fa",)
    elicitation = "acted"
    description = (
        "3,000 utterances of 87 native speakers of Persian (31 women, 56 men), cut from radio plays: acted within a "
        "plot, which the owners call semi-natural."
    )
    label_meaning = (
        "The emotion that most of 12 annotators heard (kappa 0.64). A later study holds the labels of 163 clips to be "
        "wrong."
    )
    label_map = {
        "A": "anger",
        "F": "fear",
        "H": "joy",
        "N": "neutral",
        "S": "sadness",
        "W": "surprise",
    }
    layout = "female/F21N05.wav, male/M02F01.wav and so on"
    required = ("female", "male")
    num_recordings = 3000

    def recordings(self) -> Iterator[Recording]:
        for path in self.files():
            if match := NAME.fullmatch(path.stem):
                yield Recording(
                    path=path.as_posix(),
                    speaker_id=match["speaker"],
                    native_label=match["emotion"],
                    gender="female" if match["gender"] == "F" else "male",
                )
