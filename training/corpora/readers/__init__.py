"""The data sets that are known, one a file: how their owners ship them."""

from emoicl.training.corpora.base import CorpusReader
from emoicl.training.corpora.readers.ased import Ased
from emoicl.training.corpora.readers.cafe import Cafe
from emoicl.training.corpora.readers.cremad import CremaD
from emoicl.training.corpora.readers.emodb import EmoDb
from emoicl.training.corpora.readers.emogator import EmoGator
from emoicl.training.corpora.readers.emovo import Emovo
from emoicl.training.corpora.readers.emozionalmente import Emozionalmente
from emoicl.training.corpora.readers.esd import Esd
from emoicl.training.corpora.readers.iemocap import Iemocap
from emoicl.training.corpora.readers.jl import Jl
from emoicl.training.corpora.readers.jtes import Jtes
from emoicl.training.corpora.readers.jvnv import Jvnv
from emoicl.training.corpora.readers.mead import Mead
from emoicl.training.corpora.readers.msp_podcast import MspPodcast
from emoicl.training.corpora.readers.nemo import Nemo
from emoicl.training.corpora.readers.ravdess import Ravdess
from emoicl.training.corpora.readers.savee import Savee
from emoicl.training.corpora.readers.shemo import ShEmo
from emoicl.training.corpora.readers.subesco import Subesco
from emoicl.training.corpora.readers.tess import Tess


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
        name (`str`): Its name on the command line, in upper or lower case, for example `"CREMA-D"`.

    Raises:
        `ValueError`: If there is none of this name.
    """
    if name.lower() not in CORPORA:
        raise ValueError(f"No corpus is called {name!r}; there are {', '.join(CORPORA)}, and generic for your own.")
    return CORPORA[name.lower()]
