"""What is in finished tables, and what is wrong with it, before a model is trained on it."""

import statistics
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch

from emoicl.training.corpora.clip_checks import ClipCheck, check_clips
from emoicl.training.corpora.near_duplicates import find_near_duplicates
from emoicl.training.corpora.sentence_leakage import SentenceLeakage, measure_leakage
from emoicl.training.data.corpus import Corpus, Utterance, display_label
from emoicl.training.data.progress import progress
from emoicl.training.data.sources import REQUIRED
from emoicl.training.data.table_sources import open_tables
from emoicl.training.data.tables import Table
from emoicl.training.data.utterances import corpus_of
from emoicl.training.episodes.enrollment import speaker_max_shots


OPTIONAL = ("corpus", "source_id", "sentence_id", "text")
FINDINGS = {
    "incomplete": "rows without audio, emotion or speaker_id; left out of all that follows",
    "unusable": "clips that cannot be read, or that the package would not take",
    "silent": "the peak is below -60 dBFS",
    "clipped": "at least 3 samples in a row are at full scale",
}


@dataclass(frozen=True)
class InspectedClip:
    """
    One row and what is found in its audio.

    Args:
        name (`str`): What messages call it: table, row (the first is 1) and file.
        emotion (`str`): Display word.
        speaker_id (`str`): Who speaks.
        corpus (`str`): Which corpus it is of, see [`Utterance`]; the table, if nothing tells.
        sentence_id (`str`): What is the same in all clips of the same words; `""` if unknown.
        text (`str`): The words in lower case; `""` if unknown.
        check ([`ClipCheck`]): What is found in the audio.
    """

    name: str
    emotion: str
    speaker_id: str
    corpus: str
    sentence_id: str
    text: str
    check: ClipCheck = field(repr=False)

    @property
    def is_usable(self) -> bool:
        return not (self.check.refusal or self.check.is_silent)


class Copies(NamedTuple):
    """
    Clips that are one recording.

    Args:
        kind (`str`): `"byte-identical"`, or `"near-identical"`, where the first of byte-identical ones stands for all.
        clips (`list[InspectedClip]`): At least two, in the order of the tables.
    """

    kind: str
    clips: list[InspectedClip]

    @property
    def contradiction(self) -> str:
        """What they differ in: `"emotion"`, `"speaker"`, both, or nothing."""
        emotions = {clip.emotion for clip in self.clips}
        speakers = {clip.speaker_id for clip in self.clips}
        return " and ".join(["emotion"] * (len(emotions) > 1) + ["speaker"] * (len(speakers) > 1))


@dataclass(frozen=True)
class Inspection:
    """
    What was found.

    Args:
        tables (`list[str]`): What was read.
        clips (`list[InspectedClip]`): All complete rows.
        findings (`dict[str, dict[str, str]]`): For each kind of `FINDINGS`, the rows and reasons.
        copies (`list[Copies]`): Byte-identical clips, then near-identical ones.
        leakage (`dict[str, SentenceLeakage]`): Whether sentences give the emotion away, by corpus.
        shots (`dict[str, dict[str, int]]`): For each speaker and each of the nine enrollment settings, the largest k
            that every utterance can be given. Without silent and unusable clips, copies and contradictions.
        skipped (`list[str]`): What could not be looked into, and why.
    """

    tables: list[str]
    clips: list[InspectedClip]
    findings: dict[str, dict[str, str]]
    copies: list[Copies]
    leakage: dict[str, SentenceLeakage]
    shots: dict[str, dict[str, int]]
    skipped: list[str]

    @cached_property
    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Clips by corpus, speaker and emotion, with a 0 for each emotion of the corpus that a speaker lacks."""
        found = Counter((clip.corpus, clip.speaker_id, clip.emotion) for clip in self.clips)
        emotions = {
            corpus: sorted({clip.emotion for clip in clips}) for corpus, clips in _by_corpus(self.clips).items()
        }
        return {
            corpus: {
                speaker: {emotion: found[corpus, speaker, emotion] for emotion in emotions[corpus]}
                for speaker in sorted({clip.speaker_id for clip in clips})
            }
            for corpus, clips in _by_corpus(self.clips).items()
        }

    @cached_property
    def missing_cells(self) -> dict[str, list[str]]:
        """The emotions of its corpus that each speaker lacks, for those who lack any."""
        lacking: dict[str, list[str]] = {}
        for speakers in self.counts.values():
            for speaker, counts in speakers.items():
                if absent := [emotion for emotion, count in counts.items() if not count]:
                    lacking.setdefault(speaker, []).extend(absent)
        return lacking

    @cached_property
    def durations(self) -> dict[str, dict[str, list[float]]]:
        """Seconds of each clip that can be read, by corpus and emotion."""
        durations: dict[str, dict[str, list[float]]] = {}
        for clip in sorted(self.clips, key=lambda clip: (clip.corpus, clip.emotion)):
            if clip.check.duration:
                durations.setdefault(clip.corpus, {}).setdefault(clip.emotion, []).append(clip.check.duration)
        return durations

    @cached_property
    def formats(self) -> dict[str, int]:
        """Clips of each sampling rate, number of channels and encoding; the most frequent first."""
        return dict(Counter(clip.check.format for clip in self.clips if clip.check.format).most_common())

    def reachable(self, setting: str, k: int) -> int:
        """The number of speakers whose every utterance can be given k shots in a setting."""
        return sum(shots[setting] >= k for shots in self.shots.values())

    def as_dict(self) -> dict:
        """All numbers and names, for `json.dump`."""
        durations = {
            corpus: {emotion: _duration_row(seconds) for emotion, seconds in emotions.items()}
            for corpus, emotions in self.durations.items()
        }
        return {
            "tables": self.tables,
            "num_clips": len(self.clips),
            "counts": self.counts,
            "missing_cells": self.missing_cells,
            "durations": durations,
            "formats": self.formats,
            "findings": self.findings,
            "copies": [
                {
                    "kind": copies.kind,
                    "contradiction": copies.contradiction,
                    "clips": [[clip.name, clip.emotion, clip.speaker_id] for clip in copies.clips],
                }
                for copies in self.copies
            ],
            "sentences": {
                corpus: {**vars(leakage), "gives_away": leakage.gives_away} for corpus, leakage in self.leakage.items()
            },
            "max_shots": self.shots,
            "skipped": self.skipped,
        }


def inspect_tables(sources: Sequence[str | Path], workers: int = 1) -> Inspection:
    """
    Look through finished tables, listening to every clip.

    A clip is silent if its peak is below -60 dBFS, and clipped if at least 3 samples in a row of one channel are at
    full scale (0.9999 or more); unusable is what [`decode_audio`] refuses. Copies are clips with the same bytes, or
    whose waveforms agree ([`find_near_duplicates`]). Sentences are looked at by [`measure_leakage`], enrollment by
    [`speaker_max_shots`].

    Only fingerprints of the clips stay in memory, about 1 kB for each second.

    Args:
        sources (`Sequence[str | Path]`): What [`open_tables`] takes, with the columns `audio`, `emotion` and
            `speaker_id`. The columns `corpus`, `source_id`, `sentence_id` and `text` are used if they are there.
        workers (`int`, *optional*, defaults to 1): Processes that decode. With 1, it is done in this one.

    Returns:
        [`Inspection`]: What was found, the same with any number of workers.

    Raises:
        `ValueError`: If a table cannot be read or lacks a column, or if no row is complete.
    """
    tables = open_tables(sources, REQUIRED)
    findings: dict[str, dict[str, str]] = {kind: {} for kind in FINDINGS}
    clips = []
    names = _table_names(tables)
    with progress(total=sum(table.num_rows for table in tables), desc="Listening", unit="clips") as bar:
        for rows, checks in _check_all(
            (batch for table, name in zip(tables, names, strict=True) for batch in _read(table, name, findings)),
            workers,
        ):
            for row, check in zip(rows, checks, strict=True):
                clips.append(InspectedClip(check=check, **row))
            bar.update(len(rows))
    if not clips:
        raise ValueError(
            f"{', '.join(str(table.path) for table in tables)}: no row has audio, emotion and speaker_id."
        )
    for clip in clips:
        if clip.check.refusal:
            findings["unusable"][clip.name] = clip.check.refusal
        if clip.check.is_silent:
            findings["silent"][clip.name] = f"{clip.check.duration:.2f} s"
        if clip.check.num_clipped:
            findings["clipped"][clip.name] = f"{clip.check.num_clipped} samples at full scale"
    copies = _find_copies(clips)
    kept = _without_copies(clips, copies)
    leakage, skipped = _look_at_sentences(kept)
    named_by_table = {clip.corpus for clip in clips if not corpus_of(clip.speaker_id)}
    if absent := [
        str(table.path)
        for table, name in zip(tables, names, strict=True)
        if "corpus" not in table.schema.names and _stem(table, name) in named_by_table
    ]:
        skipped.append(f"Nothing tells the corpus of speakers in {', '.join(absent)}: a table counts as a corpus.")
    return Inspection(
        tables=[str(table.path) for table in tables],
        clips=clips,
        findings=findings,
        copies=copies,
        leakage=leakage,
        shots=_max_shots(kept),
        skipped=skipped,
    )


class _Batch(NamedTuple):
    """Some complete rows: all that a [`InspectedClip`] has but the check, and their audio."""

    rows: list[dict[str, str]]
    audio: list[bytes | Path]


def _table_names(tables: Sequence[Table]) -> list[str]:
    """What messages call the tables: their file names, or whole paths where file names repeat."""
    occurrences = Counter(table.path.name for table in tables)
    return [table.path.name if occurrences[table.path.name] == 1 else str(table.path) for table in tables]


def _stem(table: Table, table_name: str) -> str:
    return table_name.removesuffix(table.path.suffix)


def _read(table: Table, table_name: str, findings: dict[str, dict[str, str]]) -> Iterator[_Batch]:
    for batch in table.row_batches(REQUIRED[1:] + OPTIONAL):
        read = _Batch([], [])
        for row in batch:
            called = row.path or row.texts["source_id"]
            name = f"{table_name} row {row.number}" + (f" ({called})" if called else "")
            lacking = [column for column in REQUIRED[1:] if not row.texts[column]] + ["audio"] * (row.clip is None)
            if row.clip is None or lacking:
                findings["incomplete"][name] = f"no {', no '.join(lacking)}"
                continue
            read.audio.append(row.clip)
            read.rows.append(
                {
                    "name": name,
                    "emotion": display_label(row.texts["emotion"]),
                    "speaker_id": row.texts["speaker_id"],
                    "corpus": row.texts["corpus"] or corpus_of(row.texts["speaker_id"]) or _stem(table, table_name),
                    "sentence_id": row.texts["sentence_id"],
                    "text": " ".join(row.texts["text"].lower().split()),
                }
            )
        yield read


def _check_all(batches: Iterable[_Batch], workers: int) -> Iterator[tuple[list[dict[str, str]], list[ClipCheck]]]:
    """The rows with their checks, in order."""
    if workers == 1:
        yield from ((batch.rows, check_clips(batch.audio)) for batch in batches)
        return
    # Spawned, because a fork of a process that has threads may hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        pending = deque()
        try:
            for batch in batches:
                pending.append((batch.rows, pool.submit(check_clips, batch.audio)))
                # No further ahead than keeps all workers busy, so that memory stays flat.
                if len(pending) > 2 * workers:
                    rows, future = pending.popleft()
                    yield rows, future.result()
            for rows, future in pending:
                yield rows, future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _find_copies(clips: Sequence[InspectedClip]) -> list[Copies]:
    by_bytes: dict[str, list[InspectedClip]] = {}
    for clip in clips:
        # Of a file that is not there, nothing is known.
        if clip.check.sha256:
            by_bytes.setdefault(clip.check.sha256, []).append(clip)
    copies = [Copies("byte-identical", group) for group in by_bytes.values() if len(group) > 1]
    heard = [group[0] for group in by_bytes.values() if group[0].check.fingerprint is not None]
    groups = find_near_duplicates([clip.check.fingerprint for clip in heard if clip.check.fingerprint is not None])
    return copies + [Copies("near-identical", [heard[index] for index in group]) for group in groups]


def _without_copies(clips: Sequence[InspectedClip], copies: Sequence[Copies]) -> list[InspectedClip]:
    """The usable clips, of copies the first, and of contradicting copies none."""
    # Bytes rather than clips, because only the first of several byte-identical ones is among near-identical ones.
    left_out = {clip.check.sha256 for group in copies if group.contradiction for clip in group.clips}
    left_out |= {clip.check.sha256 for group in copies if group.kind == "near-identical" for clip in group.clips[1:]}
    seen: set[str] = set()
    kept = []
    for clip in clips:
        if clip.is_usable and clip.check.sha256 not in left_out | seen:
            kept.append(clip)
            seen.add(clip.check.sha256)
    return kept


def _look_at_sentences(clips: Sequence[InspectedClip]) -> tuple[dict[str, SentenceLeakage], list[str]]:
    leakage, skipped = {}, []
    for corpus, of_corpus in _by_corpus(clips).items():
        column = next((name for name in ("sentence_id", "text") if any(getattr(c, name) for c in of_corpus)), None)
        if column is None:
            skipped.append(f"{corpus}: neither sentence_id nor text is given, so sentences are not looked at.")
            continue
        known = [clip for clip in of_corpus if getattr(clip, column)]
        sentences = [getattr(clip, column) for clip in known]
        leakage[corpus] = measure_leakage(sentences, [clip.emotion for clip in known], column)
    return leakage, skipped


def _max_shots(clips: Sequence[InspectedClip]) -> dict[str, dict[str, int]]:
    if not clips:
        return {}
    # The digest stands for the clip: all that a corpus asks of it here is whether another is the same.
    utterances = [
        Utterance(bytes.fromhex(clip.check.sha256), clip.emotion, clip.speaker_id, clip.name) for clip in clips
    ]
    corpus = Corpus(utterances)
    return {speaker: speaker_max_shots(corpus, speaker) for speaker in sorted(corpus.by_speaker)}


def _by_corpus(clips: Sequence[InspectedClip]) -> dict[str, list[InspectedClip]]:
    groups: dict[str, list[InspectedClip]] = {}
    for clip in clips:
        groups.setdefault(clip.corpus, []).append(clip)
    return dict(sorted(groups.items()))


def _duration_row(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "num_clips": len(seconds),
        "min": round(min(seconds), 3),
        "median": round(statistics.median(seconds), 3),
        "max": round(max(seconds), 3),
        "total": round(sum(seconds), 3),
    }
