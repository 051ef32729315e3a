"""CaFE: acted Canadian French, six sentences in seven emotions."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from emoicl.training.corpora.base import CorpusReader, Recording


AGES = {
    "01": "46",
    "02": "64",
    "03": "18",
    "04": "50",
    "05": "22",
    "06": "34",
    "07": "15",
    "08": "25",
    "09": "42",
    "10": "20",
    "11": "35",
    "12": "37",
}
FOLDERS = {
    "C": "Colère",
    "D": "Dégoût",
    "J": "Joie",
    "N": "Neutre",
    "P": "Peur",
    "S": "Surprise",
    "T": "Tristesse",
}
LEVELS = {"1": "Faible", "2": "Fort"}
INTENSITIES = {"1": "low", "2": "high"}
SENTENCES = {
    "1": "Un cheval fou dans mon jardin",
    "2": "Deux ânes aigris au pelage brun",
    "3": "Trois cygnes aveugles au bord du lac",
    "4": "Quatre vieilles truies éléphantesques",
    "5": "Cinq pumas fiers et passionnés",
    "6": "Six ours aimants domestiqués",
}
NEUTRAL = "N"


class Cafe(CorpusReader):
    """
    CaFE: `CaFE_48k.zip`, unpacked; or both parts of the 192 kHz version (AIFF), in one folder.

    A name has four parts: actor, emotion (a letter), intensity and sentence; neutral has no intensity, and so three.
    Odd actors are men. The folders (`Colère/Faible`) repeat the name. Their accents come out of the zip file in
    several ways, composed, decomposed or garbled, so that clips are found by name in whatever folder. Source:
    Readme.txt of the release, and Gournay et al. 2018.
    """

    name = "cafe"
    pretty_name = "CaFE (Canadian French emotional speech)"
    license = "CC-BY-NC-SA-4.0"
    license_url = "https://creativecommons.org/licenses/by-nc-sa/4.0/"
    homepage = "https://zenodo.org/records/1478765"
    citation = """\
@inproceedings{gournay2018cafe,
  title = {A {Canadian French} Emotional Speech Dataset},
  author = {Gournay, Philippe and Lahaie, Olivier and Lefebvre, Roch},
  booktitle = {Proceedings of the 9th ACM Multimedia Systems Conference (MMSys)},
  pages = {399--402},
  year = {2018},
  doi = {10.1145/3204949.3208121}
}"""
    languages = ("fr",)
    elicitation = "acted"
    description = (
        "12 actors (6 women, 6 men, 15 to 64 years) speak six sentences in Canadian French, in six emotions at two "
        "intensities and neutrally; recorded in a studio."
    )
    label_meaning = "The emotion that the actor was asked to show."
    label_map = {
        "C": "anger",
        "D": "disgust",
        "J": "joy",
        "N": "neutral",
        "P": "fear",
        "S": "surprise",
        "T": "sadness",
    }
    layout = "a folder for each emotion, with files such as Colère/Faible/01-C-1-1.wav and Neutre/01-N-1.wav"

    def recordings(self) -> Iterator[Recording]:
        paths: dict[str, Path] = {}
        for path in self.files():
            paths.setdefault(path.stem, path)
        for actor, emotion, level, sentence in product(AGES, FOLDERS, LEVELS, SENTENCES):
            if emotion == NEUTRAL and LEVELS[level] == "Fort":
                continue
            if emotion == NEUTRAL:
                folder, clip = FOLDERS[emotion], f"{actor}-{emotion}-{sentence}"
            else:
                folder, clip = f"{FOLDERS[emotion]}/{LEVELS[level]}", f"{actor}-{emotion}-{level}-{sentence}"
            yield Recording(
                path=paths.get(clip, Path(folder, f"{clip}.wav")).as_posix(),
                speaker_id=actor,
                native_label=emotion,
                sentence_id=sentence,
                intensity="" if emotion == NEUTRAL else INTENSITIES[level],
                gender="male" if int(actor) % 2 else "female",
                age=AGES[actor],
                text=SENTENCES[sentence],
            )
