"""EMOVO: acted Italian, 14 sentences in seven emotions."""

from collections.abc import Iterator
from itertools import product

from emoicl.training.corpora.base import CorpusReader, Recording


SPEAKERS = ("f1", "f2", "f3", "m1", "m2", "m3")
# Short (b), long (l), nonsensical (n) and questions (d).
SENTENCES = {
    "b1": "Gli operai si alzano presto.",
    "b2": "I vigili sono muniti di pistola.",
    "b3": "La cascata fa molto rumore.",
    "l1": "L'autunno prossimo Tony partirà per la Spagna nella prima metà di ottobre.",
    "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata.",
    "l3": "Un attimo dopo s'è incamminato ... ed è inciampato.",
    "l4": "Vorrei il numero telefonico del Signor Piatti.",
    "n1": "La casa forte vuole col pane.",
    "n2": "La forza trova il passo e l'aglio rosso.",
    "n3": "Il gatto sta scorrendo nella pera.",
    "n4": "Insalata pastasciutta coscia d'agnello limoncello.",
    "n5": "Uno quarantatré dieci mille cinquantasette venti.",
    "d1": "Sabato sera cosa farà?",
    "d2": "Porti con te quella cosa?",
}


class Emovo(CorpusReader):
    """
    EMOVO: the folder `EMOVO` of the archive, with `f1` to `m3` in it.

    A name has three parts: emotion (the first letters of the Italian word), actor and sentence; every actor speaks
    every sentence in every emotion once, which makes 588. Three sentences (b1, b3, l4) are also spoken in
    Emozionalmente. Source: "La struttura di EMOVO" in the archive, and Costantini et al. 2014.
    """

    name = "emovo"
    pretty_name = "EMOVO"
    license = "freely available for research, no license stated"
    license_url = "http://voice.fub.it/activities/corpora/emovo/index.html"
    homepage = "http://voice.fub.it/activities/corpora/emovo/index.html"
    citation = """\
@inproceedings{costantini2014emovo,
  title = {{EMOVO} Corpus: an {Italian} Emotional Speech Database},
  author = {Costantini, Giovanni and Iaderola, Iacopo and Paoloni, Andrea and Todisco, Massimiliano},
  booktitle = {Proceedings of the Ninth International Conference on Language Resources and Evaluation (LREC'14)},
  publisher = {European Language Resources Association},
  address = {Reykjavik},
  year = {2014}
}"""
    languages = ("it",)
    elicitation = "acted"
    description = (
        "Six actors (3 women, 3 men) speak 14 Italian sentences, five of them nonsensical, in seven "
        "emotions, in a laboratory."
    )
    label_meaning = (
        "The emotion that the actor was asked to show. 24 listeners, who chose between two emotions for two of the "
        "sentences, were right in 80 % of the cases."
    )
    label_map = {
        "neu": "neutral",
        "dis": "disgust",
        "gio": "joy",
        "pau": "fear",
        "rab": "anger",
        "sor": "surprise",
        "tri": "sadness",
    }
    layout = "the folders f1, f2, f3, m1, m2 and m3 with files such as f1/dis-f1-b1.wav"
    required = ("f1",)

    def recordings(self) -> Iterator[Recording]:
        for speaker, emotion, sentence in product(SPEAKERS, self.label_map, SENTENCES):
            yield Recording(
                path=f"{speaker}/{emotion}-{speaker}-{sentence}.wav",
                speaker_id=speaker,
                native_label=emotion,
                sentence_id=sentence,
                gender="female" if speaker.startswith("f") else "male",
                text=SENTENCES[sentence],
            )
