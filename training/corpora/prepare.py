"""From a corpus as its owners ship it to tables that `load_corpus` and `datasets` read."""

import hashlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet
from accelerate import PartialState

from emoicl.processing.audio_file_emoicl import read_blocks
from emoicl.training.corpora.base import CorpusReader, Recording
from emoicl.training.corpora.card import dataset_card
from emoicl.training.corpora.report import NOTES, PROBLEMS, Report
from emoicl.training.data.processes import sole_run
from emoicl.training.data.progress import progress
from emoicl.training.data.tables import AUDIO_TYPE
from emoicl.training.data.text_tables import printable
from emoicl.training.data.writing import LOCK_NAME, write_aside


Item = TypeVar("Item")

TEXT_COLUMNS = ("sentence_id", "take", "intensity", "gender", "age", "text")
SCHEMA = pa.schema(
    {
        "audio": AUDIO_TYPE,
        "speaker_id": pa.string(),
        "emotion": pa.string(),
        "duration": pa.float64(),
        "corpus": pa.string(),
        "source_id": pa.string(),
        "native_label": pa.string(),
        **dict.fromkeys(TEXT_COLUMNS, pa.string()),
    },
    # By this, `datasets` and the viewer of the Hub know what can be played.
    metadata={"huggingface": json.dumps({"info": {"features": {"audio": {"_type": "Audio"}}}})},
)
VOTES_TYPE = pa.list_(pa.struct({"emotion": pa.string(), "votes": pa.float64()}))

# Clips that a worker holds in memory at once, of which a parquet file makes a row group.
GROUP_SIZE = 100
UNFINISHED = ".unfinished"
# Bytes of a file name without its extension; file systems take 255 and more.
MAX_NAME = 200


class Scan(NamedTuple):
    """What reading a clip told: its SHA-256 and duration in seconds, or what kind of problem it has, and which."""

    sha256: str = ""
    duration: float = 0.0
    problem: str = ""
    reason: str = ""


class Clip(NamedTuple):
    """A clip that is written, and the name of its file."""

    recording: Recording
    scan: Scan
    file_name: str


def prepare(
    reader: CorpusReader,
    output: str | Path,
    format: Literal["parquet", "jsonl"] = "parquet",
    workers: int = 1,
    allow_missing: bool = False,
    shard_size: int = 2000,
) -> Report:
    """
    Write a corpus as tables with one row for each clip, a report and a dataset card.

    First every clip is read and checked, then the tables are written. Both go on where they stopped if the same call
    is repeated after an interruption. The processes of `accelerate launch` share both. The same folder gives the same
    bytes, whatever the number of workers and processes.

    The folder `output` then holds `data/*.parquet` (the owners' bytes in the column `audio`, as `{"bytes", "path"}`)
    or `data/*.jsonl` (with paths into `data/audio/`), `README.md`, `report.json` and `report.txt`, and where
    the owners divide their speakers, `speakers.json`. Columns: `audio`,
    `speaker_id` (`"corpus/speaker"`), `emotion` (harmonized), `duration` (seconds), `corpus`, `source_id`,
    `native_label`, `sentence_id`, `take`, `intensity`, `gender`, `age`, `text` (empty where unknown), and for a corpus
    that has them `votes` (a list of `{"emotion", "votes"}`).

    Args:
        reader ([`CorpusReader`]): The corpus, in its owners' folder.
        output (`str` or `Path`): Folder to write. New, empty, or of an earlier preparation.
        format (`str`, *optional*, defaults to `"parquet"`): `"parquet"` or `"jsonl"`.
        workers (`int`, *optional*, defaults to 1): Number of threads that read and write.
        allow_missing (`bool`, *optional*, defaults to `False`): Write what there is although clips are missing,
            unreadable, unlisted, contradictory or of another number than the owners state.
        shard_size (`int`, *optional*, defaults to 2000): Clips in one table.

    Returns:
        [`Report`]: What was found, as saved.

    Raises:
        `ValueError`: If there are such clips and that is not allowed (the report, which names all of them, is written
            nevertheless), if no clip is left, if the corpus lists a clip twice or has an unknown label, or if `output`
            holds something else or is being written.
    """
    output = Path(output)
    recordings = _list_recordings(reader, output)
    with sole_run(output):
        return _prepare(reader, recordings, output, format, workers, allow_missing, shard_size)


def read_part(
    reader: CorpusReader,
    output: str | Path,
    shard: int,
    num_shards: int,
    format: Literal["parquet", "jsonl"] = "parquet",
    workers: int = 1,
    shard_size: int = 2000,
) -> int:
    """
    Read and check a part of a corpus, for [`prepare`] to go on with: several machines, which share folders and know
    nothing of each other, take a part each.

    Args:
        reader, output, format, workers, shard_size: See [`prepare`].
        shard (`int`): Which part, from 0.
        num_shards (`int`): Number of parts.

    Returns:
        `int`: Number of clips in the part.

    Raises:
        `ValueError`: If the corpus lists a clip twice or has an unknown label, or if `output` holds something else.
    """
    output = Path(output)
    recordings = _list_recordings(reader, output)
    job = _open_job(output, _fingerprint(reader, recordings, format, shard_size))
    return _scan(reader, recordings, job, workers, (shard, num_shards))


def _list_recordings(reader: CorpusReader, output: Path) -> list[Recording]:
    _check_output(reader, output)
    recordings = list(reader.recordings())
    _check_recordings(reader, recordings)
    return recordings


def _prepare(
    reader: CorpusReader,
    recordings: Sequence[Recording],
    output: Path,
    format: Literal["parquet", "jsonl"],
    workers: int,
    allow_missing: bool,
    shard_size: int,
) -> Report:
    processes = PartialState()
    job = _open_job(output, _fingerprint(reader, recordings, format, shard_size))
    _scan(reader, recordings, job, workers)
    scans = _read_scans(job, len(recordings))
    findings, kept = _judge(reader, recordings, scans)
    report = _report(reader, recordings, scans, findings, kept)
    if processes.is_main_process:
        report.save(output)
    processes.wait_for_everyone()
    if report.problems and not allow_missing:
        raise ValueError(
            f"{reader.pretty_name}: {report.summary()}. All are named in {output / 'report.txt'}. Complete the "
            "folder, or prepare what there is with --allow-missing (allow_missing=True)."
        )
    if not kept:
        raise ValueError(f"{reader.pretty_name}: not one clip can be prepared; see {output / 'report.txt'}.")
    file_names = _file_names(recordings)
    shards = _slices(kept, shard_size)
    names = [f"{number:05}-of-{len(shards):05}.{format}" for number in range(len(shards))]
    write = {"parquet": _write_parquet, "jsonl": _write_jsonl}[format]

    def write_shard(number: int) -> int:
        path = job / "data" / names[number]
        if not path.exists():
            write(reader, [Clip(recordings[i], scans[i], file_names[i]) for i in shards[number]], path)
        return len(shards[number])

    _run(write_shard, range(len(shards)), workers, f"Writing {reader.name}")
    if processes.is_main_process:
        shutil.rmtree(output / "data", ignore_errors=True)
        (job / "data").rename(output / "data")
        (output / "README.md").write_text(dataset_card(reader, report, format), encoding="utf-8")
        if speaker_lists := reader.speaker_lists():
            (output / "speakers.json").write_text(json.dumps(speaker_lists, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(output / UNFINISHED)
    processes.wait_for_everyone()
    return report


def _check_output(reader: CorpusReader, output: Path) -> None:
    if output.exists() and any(path.name != LOCK_NAME for path in output.iterdir()):
        if not ((output / UNFINISHED).is_dir() or (output / "report.txt").is_file()):
            raise ValueError(f"{output}: holds something that is no prepared corpus; name a new folder.")
    if reader.source.is_dir() and output.resolve().is_relative_to(reader.source.resolve()):
        raise ValueError(f"{output}: lies in the corpus's own folder {reader.source}; name a folder outside of it.")


def _check_recordings(reader: CorpusReader, recordings: Sequence[Recording]) -> None:
    for recording in recordings:
        reader.harmonize(recording.native_label)
    occurrences = Counter(recording.source_id for recording in recordings)
    if repeated := [name for name, count in occurrences.items() if count > 1]:
        raise ValueError(f"{reader.pretty_name}: lists {', '.join(repeated[:5])} more than once.")


def _fingerprint(reader: CorpusReader, recordings: Sequence[Recording], format: str, shard_size: int) -> str:
    """Identity of all that the tables depend on."""
    digest = hashlib.sha256(repr((reader.name, dict(reader.label_map), format, shard_size)).encode())
    for recording in recordings:
        digest.update(f"{recording!r} {reader.version(recording)}".encode())
    return digest.hexdigest()


def _open_job(output: Path, fingerprint: str) -> Path:
    """The folder of a job that is not finished. Its name tells what the job is for, so that whoever comes first
    begins it."""
    job = output / UNFINISHED / fingerprint[:16]
    (job / "data").mkdir(parents=True, exist_ok=True)
    return job


def _run(task: Callable[[int], int], numbers: Sequence[int], workers: int, description: str) -> int:
    """Runs a task for each number, which several processes share. It returns how many clips it did, of which the sum
    comes back."""
    processes, done = PartialState(), 0
    numbers = numbers[processes.process_index :: processes.num_processes]
    with ThreadPoolExecutor(workers) as pool, progress(total=len(numbers), desc=description, unit="parts") as bar:
        futures = [pool.submit(task, number) for number in numbers]
        try:
            for future in as_completed(futures):
                done += future.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    processes.wait_for_everyone()
    return done


def _scan(
    reader: CorpusReader, recordings: Sequence[Recording], job: Path, workers: int, part: tuple[int, int] = (0, 1)
) -> int:
    """Reads every batch of clips of a part, and keeps what each of them told in a file of the job."""
    batches = _slices(recordings, GROUP_SIZE)

    def scan_batch(number: int) -> int:
        path = _scan_path(job, number)
        if not path.exists():
            scans = [_scan_clip(reader, recording) for recording in batches[number]]
            with write_aside(path) as aside:
                aside.write_text(json.dumps(scans))
        return len(batches[number])

    shard, num_shards = part
    return _run(scan_batch, range(shard, len(batches), num_shards), workers, f"Reading {reader.name}")


def _read_scans(job: Path, num_recordings: int) -> list[Scan]:
    paths = [_scan_path(job, number) for number in range(math.ceil(num_recordings / GROUP_SIZE))]
    return [Scan(*values) for path in paths for values in json.loads(path.read_text())]


def _scan_path(job: Path, batch: int) -> Path:
    return job / f"{batch:06}.json"


def _scan_clip(reader: CorpusReader, recording: Recording) -> Scan:
    if recording.source_id in reader.flawed:
        return Scan(problem="flawed", reason=reader.flawed[recording.source_id])
    try:
        content = reader.read_audio(recording)
        return Scan(hashlib.sha256(content).hexdigest(), _duration(content, recording.path))
    except FileNotFoundError:
        return Scan(problem="missing")
    except (OSError, ValueError) as error:
        return Scan(problem="unreadable", reason=str(error))


def _duration(content: bytes, name: str) -> float:
    """Seconds that can be decoded, whatever the header tells."""
    if content.startswith(b"version https://git-lfs"):
        raise ValueError("a pointer of git-lfs in place of the file: run `git lfs pull` in the corpus's folder")
    num_samples: Counter[int] = Counter()
    for block, rate in read_blocks(content, name, math.inf):
        num_samples[rate] += len(block)
    if not num_samples:
        raise ValueError("holds no samples")
    return sum(count / rate for rate, count in num_samples.items())


def _is_copy(path: Path, sha256: str) -> bool:
    # A link may lead nowhere.
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _judge(
    reader: CorpusReader, recordings: Sequence[Recording], scans: Sequence[Scan]
) -> tuple[dict[str, dict[str, str]], list[int]]:
    """What is wrong with which file, and the indices of the recordings that are kept."""
    findings: dict[str, dict[str, str]] = {kind: {} for kind in PROBLEMS | NOTES}
    copies: dict[str, list[int]] = {}
    for index, (recording, scan) in enumerate(zip(recordings, scans, strict=True)):
        if scan.problem:
            findings[scan.problem][recording.path] = scan.reason
        else:
            copies.setdefault(scan.sha256, []).append(index)
    kept = []
    for indices in copies.values():
        first = recordings[indices[0]]
        claims = {(recordings[i].speaker_id, reader.harmonize(recordings[i].native_label)) for i in indices}
        if len(claims) > 1:
            names = " = ".join(f"{recordings[i].path} ({recordings[i].native_label})" for i in indices)
            findings["contradictory"] |= {recordings[i].path: names for i in indices}
            continue
        findings["duplicate"] |= {recordings[i].path: f"the same as {first.path}" for i in indices[1:]}
        kept.append(indices[0])
    findings["missing"] |= reader.absent()
    hashes = {recording.path: scan.sha256 for recording, scan in zip(recordings, scans, strict=True)}
    listed = {Path(path).name: path for path in hashes}
    for path in reader.files():
        name = path.as_posix()
        if name in hashes:
            continue
        if reason := reader.reason_to_ignore(name):
            findings["ignored"][name] = reason
        elif (same := listed.get(path.name)) and _is_copy(reader.source / path, hashes[same]):
            findings["duplicate"][name] = f"the same as {same}"
        else:
            findings["unlisted"][name] = f"another file than {same}" if same and hashes[same] else ""
    if reader.num_recordings not in (None, len(recordings)):
        stated = f"{len(recordings)} clips, where the owners state {reader.num_recordings}"
        findings["miscounted"][reader.name] = stated
    return findings, kept


def _report(
    reader: CorpusReader,
    recordings: Sequence[Recording],
    scans: Sequence[Scan],
    findings: dict[str, dict[str, str]],
    kept: Sequence[int],
) -> Report:
    counts = Counter(recordings[index].native_label for index in kept)
    labels: dict[str, dict[str, int]] = {}
    for native, emotion in reader.label_map.items():
        if counts[native]:
            labels.setdefault(printable(emotion), {})[printable(native)] = counts[native]
    genders = dict(sorted((recordings[index].speaker_id, recordings[index].gender) for index in kept))
    return Report(
        corpus=reader.name,
        num_listed=len(recordings),
        num_prepared=len(kept),
        num_speakers=len(genders),
        seconds=sum(scans[index].duration for index in kept),
        labels=labels,
        genders=dict(sorted(Counter(genders.values()).items())),
        findings={
            kind: {printable(name): printable(reason) for name, reason in files.items()}
            for kind, files in findings.items()
        },
    )


def _row(reader: CorpusReader, clip: Clip, audio: object) -> dict:
    recording = clip.recording
    row: dict[str, Any] = {
        "audio": audio,
        "speaker_id": f"{reader.name}/{recording.speaker_id}",
        "emotion": reader.harmonize(recording.native_label),
        "duration": clip.scan.duration,
        "corpus": reader.name,
        "source_id": recording.source_id,
        "native_label": recording.native_label,
        **{name: getattr(recording, name) for name in TEXT_COLUMNS},
    }
    row = {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
    if reader.has_votes:
        votes = recording.votes or {}
        row["votes"] = [{"emotion": reader.harmonize(label), "votes": float(vote)} for label, vote in votes.items()]
    return row


def _file_names(recordings: Sequence[Recording]) -> list[str]:
    """A name for the file of each clip, no two of which are one to a file system that takes "A" for "a"."""
    names: list[str] = []
    occurrences: Counter[str] = Counter()
    for recording in recordings:
        plain = printable(recording.source_id).replace("/", "_").encode()[:MAX_NAME].decode(errors="ignore")
        name = plain
        while occurrences[name.casefold()]:
            occurrences[plain.casefold()] += 1
            name = f"{plain}_{occurrences[plain.casefold()]}"
        occurrences[name.casefold()] += 1
        names.append(name + Path(recording.path).suffix.lower())
    return names


def _write_parquet(reader: CorpusReader, clips: Sequence[Clip], path: Path) -> None:
    schema = SCHEMA.append(pa.field("votes", VOTES_TYPE)) if reader.has_votes else SCHEMA
    # A dictionary of clips would only hold them in memory a second time.
    options: dict[str, Any] = {"write_statistics": False}
    options["use_dictionary"] = [
        name for name in schema.names if name not in ("audio", "duration", "votes", "source_id")
    ]

    with write_aside(path) as aside, pyarrow.parquet.ParquetWriter(aside, schema, **options) as file:
        for group in _slices(clips, GROUP_SIZE):
            values = [
                _row(reader, clip, {"bytes": reader.read_audio(clip.recording), "path": clip.file_name})
                for clip in group
            ]
            file.write_batch(pa.RecordBatch.from_pylist(values, schema))


def _write_jsonl(reader: CorpusReader, clips: Sequence[Clip], path: Path) -> None:
    folder = path.parent / "audio"
    folder.mkdir(exist_ok=True)

    with write_aside(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        for clip in clips:
            (folder / clip.file_name).write_bytes(reader.read_audio(clip.recording))
            row = _row(reader, clip, f"audio/{clip.file_name}")
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _slices(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
