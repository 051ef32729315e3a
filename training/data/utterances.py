"""Utterances in Arrow: what is known of them in columns, and clips that are read when somebody asks for them."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute

from emoicl.training.data.tables import read_clip
from emoicl.training.data.text_tables import printable


# `row` is that of a clip in Arrow, null for one in a file. `sha256` is null where nobody has read the file yet.
FACTS = pa.schema(
    {
        "row": pa.int64(),
        # As the system has it: a file name need not be text.
        "file": pa.binary(),
        "name": pa.string(),
        "label": pa.string(),
        "speaker_id": pa.string(),
        "corpus": pa.string(),
        "sha256": pa.binary(32),
    }
)


# Its functions are made as it is imported, which no type checker sees.
pc: Any = pyarrow.compute
# Utterances that are made at once.
BATCH_SIZE = 1000


@dataclass(frozen=True)
class Utterance:
    """
    One recorded, labeled utterance.

    Args:
        audio (`bytes` or `Path`): The encoded clip (wav, flac, ogg/opus, mp3), or the file that holds it.
        label (`str`): The emotion as a display word, for example `"Joy"`.
        speaker_id (`str`): Who speaks. Unique over everything that is loaded together, as in `"ravdess/01"`.
        name (`str`): What messages call this utterance: its file name, or its row in the table.
        corpus (`str`, *optional*): Which corpus it is of; by default what [`corpus_of`] tells.
    """

    audio: bytes | Path = field(repr=False)
    label: str
    speaker_id: str
    name: str
    corpus: str = ""

    def __post_init__(self):
        if not self.corpus:
            object.__setattr__(self, "corpus", corpus_of(self.speaker_id))

    def __getattr__(self, name: str) -> Any:
        # One of [`StoredUtterances`] has no `audio`, so that any number of them may be held.
        if name == "audio" and "_stored" in vars(self):
            store, index = vars(self)["_stored"]
            return store.read(index)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @cached_property
    def audio_sha256(self) -> str:
        """The identity of the clip: the SHA-256 of its encoded bytes, as 64 hexadecimal digits."""
        return hashlib.sha256(read_clip(self.audio)).hexdigest()


def corpus_of(speaker_id: str) -> str:
    """
    The corpus of a speaker by the identifier alone: `"ravdess"` of `"ravdess/01"`. All identifiers that do not tell
    count as one corpus, `""`.
    """
    corpus, slash, _ = speaker_id.partition("/")
    return corpus if slash else ""


class StoredUtterances(Sequence[Utterance]):
    """
    Utterances whose clips stay where they are: in a memory-mapped table, in one in memory, or in files. A slice is a
    list of utterances, which hold no audio either.

    Args:
        clips (`pa.ChunkedArray`): Encoded clips, `large_binary`; others may be among them.
        facts (`pa.Table`): A row for each utterance, with the columns of `FACTS`.
    """

    def __init__(self, clips: pa.ChunkedArray, facts: pa.Table):
        self.clips = clips
        self.facts = facts.combine_chunks()
        # Their digests are computed when they are asked for, and kept.
        self._of_files: dict[int, Utterance] = {}

    @classmethod
    def of(cls, utterances: Iterable[Utterance]) -> "StoredUtterances":
        """Stores utterances; clips that are stored already stay where they are."""
        if isinstance(utterances, StoredUtterances):
            return utterances
        stores: dict[int, StoredUtterances] = {}
        places: dict[int, list[int]] = {}
        rows: dict[int, list[int]] = {}
        others: list[Utterance] = []
        number = -1
        for number, utterance in enumerate(utterances):
            store, row = vars(utterance).get("_stored", (None, len(others)))
            if store is None:
                others.append(utterance)
            else:
                stores[id(store)] = store
            places.setdefault(id(store), []).append(number)
            rows.setdefault(id(store), []).append(row)
        stores[id(None)] = _in_memory(others)
        joined = cls.join([stores[key].take(rows[key]) for key in places])
        order = np.empty(number + 1, dtype=np.int64)
        order[np.concatenate([*places.values(), []]).astype(int)] = np.arange(number + 1)
        return joined if len(places) < 2 else joined.take(order)

    @classmethod
    def join(cls, parts: Sequence["StoredUtterances"]) -> "StoredUtterances":
        """One after the other."""
        chunks, facts, start = [], [FACTS.empty_table()], 0
        for part in parts:
            chunks += part.clips.chunks
            facts.append(part.facts.set_column(0, FACTS.field("row"), pc.add(part.facts["row"], start)))
            start += len(part.clips)
        return cls(pa.chunked_array(chunks, pa.large_binary()), pa.concat_tables(facts))

    def take(self, indices: Sequence[int] | np.ndarray) -> "StoredUtterances":
        """Some of them, in this order."""
        return StoredUtterances(self.clips, self.facts.take(pa.array(indices, pa.int64())))

    def with_sha256(self, digests: pa.Array) -> "StoredUtterances":
        """The same, of which more is known."""
        place = self.facts.schema.get_field_index("sha256")
        return StoredUtterances(self.clips, self.facts.set_column(place, FACTS.field("sha256"), digests))

    def read(self, index: int) -> bytes | Path:
        """The encoded clip, or the file that holds it."""
        row = self.facts["row"][index].as_py()
        return Path(os.fsdecode(self.facts["file"][index].as_py())) if row is None else self.clips[row].as_py()

    def sizes(self) -> np.ndarray:
        """Bytes of each clip."""
        of_rows = pc.binary_length(self.clips).to_numpy()
        rows = self.facts["row"].to_numpy()
        in_file = np.isnan(rows) if rows.dtype.kind == "f" else np.zeros(len(rows), bool)
        sizes = np.empty(len(rows), dtype=np.int64)
        sizes[~in_file] = of_rows[rows[~in_file].astype(int)]
        sizes[in_file] = [os.stat(file).st_size for file in self.facts["file"].filter(pa.array(in_file)).to_pylist()]
        return sizes

    def __len__(self) -> int:
        return self.facts.num_rows

    @overload
    def __getitem__(self, index: int) -> Utterance: ...

    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...

    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        if isinstance(index, slice):
            indices = range(len(self))[index]
            if indices.step == 1:
                return self._make(self.facts.slice(indices.start, len(indices)), indices)
            return self._make(self.facts.take(pa.array(indices, pa.int64())), indices)
        place = range(len(self))[index]
        return self._make(self.facts.slice(place, 1), [place])[0]

    def __iter__(self) -> Iterator[Utterance]:
        for start in range(0, len(self), BATCH_SIZE):
            yield from self[start : start + BATCH_SIZE]

    def _make(self, facts: pa.Table, indices: Sequence[int]) -> list[Utterance]:
        return [self._utterance(index, **row) for index, row in zip(indices, facts.to_pylist(), strict=True)]

    def _utterance(self, index: int, row: int | None, file: bytes, sha256: bytes | None, **told: str) -> Utterance:
        if index in self._of_files:
            return self._of_files[index]
        utterance = object.__new__(Utterance)
        vars(utterance).update(told, _stored=(self, index))
        if sha256 is not None:
            vars(utterance)["audio_sha256"] = sha256.hex()
        elif row is None:
            self._of_files[index] = utterance
        return utterance


def _in_memory(utterances: Sequence[Utterance]) -> StoredUtterances:
    in_file = [isinstance(utterance.audio, Path) for utterance in utterances]
    clips = [utterance.audio for utterance, is_path in zip(utterances, in_file, strict=True) if not is_path]
    rows = iter(range(len(clips)))
    facts = {
        "row": [None if is_path else next(rows) for is_path in in_file],
        "file": [os.fsencode(u.audio) if is_path else None for u, is_path in zip(utterances, in_file, strict=True)],
        "name": [printable(utterance.name) for utterance in utterances],
        "label": [utterance.label for utterance in utterances],
        "speaker_id": [utterance.speaker_id for utterance in utterances],
        "corpus": [utterance.corpus for utterance in utterances],
        "sha256": [
            None if is_path else bytes.fromhex(utterance.audio_sha256)
            for utterance, is_path in zip(utterances, in_file, strict=True)
        ],
    }
    # In pieces, each of which is one buffer.
    chunks = [
        pa.array(clips[start : start + BATCH_SIZE], pa.large_binary()) for start in range(0, len(clips), BATCH_SIZE)
    ]
    return StoredUtterances(pa.chunked_array(chunks, pa.large_binary()), pa.table(facts, FACTS))
