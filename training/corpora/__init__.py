"""The data sets of the field, each as its owners ship it, and how they become one kind of table."""

from emoicl.training.corpora.ased import Ased
from emoicl.training.corpora.base import CorpusReader
from emoicl.training.corpora.cafe import Cafe
from emoicl.training.corpora.cremad import CremaD
from emoicl.training.corpora.emodb import EmoDb
from emoicl.training.corpora.emogator import EmoGator
from emoicl.training.corpora.emovo import Emovo
from emoicl.training.corpora.emozionalmente import Emozionalmente
from emoicl.training.corpora.esd import Esd
from emoicl.training.corpora.iemocap import Iemocap
from emoicl.training.corpora.jl import Jl
from emoicl.training.corpora.jtes import Jtes
from emoicl.training.corpora.jvnv import Jvnv
from emoicl.training.corpora.mead import Mead
from emoicl.training.corpora.msp_podcast import MspPodcast
from emoicl.training.corpora.nemo import Nemo
from emoicl.training.corpora.ravdess import Ravdess
from emoicl.training.corpora.savee import Savee
from emoicl.training.corpora.shemo import ShEmo
from emoicl.training.corpora.subesco import Subesco
from emoicl.training.corpora.tess import Tess


# In the order in which `emoicl corpus list` shows them.
READERS: tuple[type[CorpusReader], ...] = (
    CremaD,
    Ravdess,
    EmoDb,
    Esd,
    Nemo,
    EmoGator,
    Savee,
    Tess,
    Emovo,
    Emozionalmente,
    Subesco,
    ShEmo,
    Ased,
    Cafe,
    Iemocap,
    Jl,
    Jtes,
    Jvnv,
    Mead,
    MspPodcast,
)
CORPORA = {reader.name: reader for reader in READERS}


def find_corpus(name: str) -> type[CorpusReader]:
    """
    The reader of a corpus.

    Args:
        name (`str`): Its name on the command line, for example `"crema-d"`.

    Raises:
        `ValueError`: If there is none of this name.
    """
    if name not in CORPORA:
        raise ValueError(f"No corpus is called {name!r}; there are {', '.join(CORPORA)}, and generic for your own.")
    return CORPORA[name]
