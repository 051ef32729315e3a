"""EMO-DB, the Berlin database of emotional speech: acted German, ten texts in seven emotions."""

import re
from collections.abc import Iterator

from emoicl.training.corpora.base import CorpusReader, Recording


SPEAKERS = {
    "03": ("male", "31"),
    "08": ("female", "34"),
    "09": ("female", "21"),
    "10": ("male", "32"),
    "11": ("male", "26"),
    "12": ("male", "30"),
    "13": ("female", "32"),
    "14": ("female", "35"),
    "15": ("male", "25"),
    "16": ("female", "31"),
}
TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
NAME = re.compile(rf"({'|'.join(SPEAKERS)})({'|'.join(TEXTS)})([WLEAFTN])([a-z])")


class EmoDb(CorpusReader):
    """
    EMO-DB: `download.zip` unpacked, of which the audio is used, whether in its folder `wav` or not.

    A name has four parts: speaker, text, emotion (the German word's first letter) and version. Not every speaker has
    every text in every emotion: clips that fewer than 80 % of the listeners recognized, or 60 % found natural, were
    taken out, which leaves 535. Source: the database's site ("Code of texts", "Information about the speakers").
    """

    name = "emo-db"
    pretty_name = "EMO-DB (Berlin database of emotional speech)"
    license = "freely available, no license stated"
    license_url = "http://emodb.bilderbar.info/docu/"
    homepage = "http://emodb.bilderbar.info/"
    citation = """\
@inproceedings{burkhardt2005emodb,
  title = {A database of {German} emotional speech},
  author = {Burkhardt, Felix and Paeschke, Astrid and Rolfes, Miriam and Sendlmeier, Walter F. and Weiss, Benjamin},
  booktitle = {Interspeech},
  pages = {1517--1520},
  year = {2005},
  doi = {10.21437/Interspeech.2005-446}
}"""
    languages = ("de",)
    elicitation = "acted"
    description = (
        "Ten actors (5 women, 5 men) speak ten everyday German sentences that fit every emotion, in an anechoic "
        "chamber, by remembering a situation in which they felt the emotion."
    )
    label_meaning = (
        "The emotion that the actor was asked to show, recognized by at least 80 % of 20 listeners. A is Angst "
        "(anxiety or fear)."
    )
    label_map = {
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "joy",
        "T": "sadness",
        "N": "neutral",
    }
    layout = "wav/03a01Fa.wav and so on"
    clip_name = NAME
    num_recordings = 535

    def recordings(self) -> Iterator[Recording]:
        for name, path in self.clips.items():
            speaker, text, emotion, version = NAME.fullmatch(name).groups()  # pyright: ignore[reportOptionalMemberAccess]
            gender, age = SPEAKERS[speaker]
            yield Recording(
                path=path,
                speaker_id=speaker,
                native_label=emotion,
                sentence_id=text,
                take=version,
                gender=gender,
                age=age,
                text=TEXTS[text],
            )
