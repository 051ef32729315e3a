"""Files of every kind that the package reads, and damage done to them: `from fuzzed_files import KINDS`.

All of it follows from a generator of random numbers, so that a seed and a number make the same file again.
"""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import soundfile
import torch
import yaml
from numpy.random import Generator
from tiny import LABELS, tiny_model, tiny_processor
from tiny_checkpoints import save_language_model, save_speech_encoder
from tiny_classifier import tiny_classifier

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing import EmoIclFeatureExtractor
from emoicl.processing.audio_emoicl import decode_audio, stream_audio
from emoicl.processing.profile_emoicl import SpeakerProfile
from emoicl.training.corpora.prepare import prepare
from emoicl.training.corpora.readers import find_corpus
from emoicl.training.data.corpus import Utterance, load_corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.data.tables import Table
from emoicl.training.experiments.loading import RECIPES, load_recipe
from emoicl.training.publishing.cards import checkpoint_card
from emoicl.training.publishing.checkpoint import load_pipeline
from emoicl.training.publishing.provenance import seconds_of
from emoicl.training.systems.composition import compose


# What no writer of a field thinks of.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 7, 1000, 2**31, 2**63, 2**70, 0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"),
    "", " ", "x", "\n", "\0", "\ud800", "</s>", "<audio>", "../x", "=1+1", "{{ x }}", "9" * 5000, "x" * 100_000,
    [], [[]], ["x"], [None], [1, 2], {}, {"x": 1}, {"": {}}, [{}],
)  # fmt: skip
SMALL = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64}
ODD_NAMES = (
    "a.wav", "A.WAV", ".wav", "._a.wav", "a", "a.txt", "\udcdc.wav", "a\nb.wav", "=1+1.wav", "x" * 250 + ".wav",
    " .wav", "{{ x }}.wav", "|.wav", "03-01-09-01-01-01-05.wav", "1099_IEO_ANG_HI.wav", "0021_000001.wav",
    "OAF__angry.wav",
)  # fmt: skip
ODD_BYTES = (b"\0", b"\xff", b"[", b"{", b'"', b"\n", b",", b"&a [*a,", b"\xef\xbb\xbf", b"\xff\xfe", b"RIFF", b"OggS")


@dataclass(frozen=True)
class Kind:
    """
    A kind of file.

    Args:
        write (`Callable[[Generator, Path], Path]`): Puts a damaged one into an empty folder and gives its path.
        read (`Callable[[Path], Any]`): Reads it as the package does, all that it reads of it.
        others (`tuple[str, ...]`): Files beside it that may be at fault in its place.
    """

    write: Callable[[Generator, Path], Path]
    read: Callable[[Path], Any]
    others: tuple[str, ...] = ()


def choose(rng: Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def damage_bytes(rng: Generator, content: bytes, others: list[bytes]) -> bytes:
    """One to four changes, more often near the start, where headers are."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        size = len(damaged)
        near = min(size, choose(rng, (16, 64, 512, size)))
        place = int(rng.integers(near + 1))
        length = int(choose(rng, (1, 2, 4, 8, 64, max(1, size // 4))))
        match choose(rng, ("flip", "field", "cut", "delete", "repeat", "insert", "fill", "join", "splice")):
            case "flip" if place < size:
                damaged[place] ^= 1 << int(rng.integers(8))
            case "field":
                width = int(choose(rng, (1, 2, 4, 8)))
                top = 2 ** (8 * width)
                value = int(
                    choose(rng, (0, 1, top - 1, top // 2, top // 2 - 1, top // 3, top // 1000, size, size * 2))
                )
                damaged[place : place + width] = (value % top).to_bytes(width, choose(rng, ("little", "big")))
            case "cut":
                del damaged[int(rng.integers(size + 1)) :]
            case "delete":
                del damaged[place : place + length]
            case "repeat":
                damaged[place:place] = damaged[place : place + length] * int(choose(rng, (1, 3, 100)))
            case "insert":
                damaged[place:place] = choose(rng, ODD_BYTES) * int(choose(rng, (1, 10, 10_000)))
            case "fill":
                damaged[place : place + length] = rng.bytes(length)
            case "join":
                damaged += choose(rng, others)
            case "splice":
                damaged[place:] = choose(rng, others)[place:]
    return bytes(damaged)


def places(tree: Any, place: tuple = ()) -> list[tuple]:
    """Where something stands in nested lists and dictionaries, by the keys that lead there."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place, *(found for key, value in items for found in places(value, (*place, key)))]


def damage_tree(rng: Generator, tree: Any) -> Any:
    """One to three values or keys of nested lists and dictionaries in place of others."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.integers(1, 4)):
        known = places(tree)
        if len(known) == 1:
            return choose(rng, ODD_VALUES)
        *parents, last = choose(rng, known[1:])
        inner = tree
        for key in parents:
            inner = inner[key]
        match choose(rng, ("odd", "odd", "odd", "number", "copy", "delete", "rename")):
            case "odd":
                inner[last] = choose(rng, ODD_VALUES)
            case "number" if isinstance(inner[last], (int, float)) and not isinstance(inner[last], bool):
                inner[last] = inner[last] * choose(rng, (-1, 0, 2, 0.5, 1000, 10**9))
            case "copy":
                source = tree
                for key in choose(rng, known):
                    source = source[key]
                inner[last] = json.loads(json.dumps(source))
            case "delete":
                del inner[last]
            case "rename" if isinstance(inner, dict):
                inner[choose(rng, ("", "x", "\ud800", "x\ny", *inner))] = inner.pop(last)
    return tree


def damage_json(rng: Generator, content: bytes) -> bytes:
    """By its values, or now and then by its bytes."""
    if rng.random() < 0.25:
        return damage_bytes(rng, content, [content])
    return json.dumps(damage_tree(rng, json.loads(content)), indent=choose(rng, (None, 1))).encode()


@cache
def recordings() -> dict[str, list[bytes]]:
    """A short recording in each format and coding that soundfile writes, by the suffix of its files."""
    rng = np.random.default_rng(0)
    found: dict[str, list[bytes]] = {}
    # SD2 is two files, of which one is written into the working directory.
    for format in sorted(soundfile.available_formats().keys() - {"SD2"}):
        for subtype in soundfile.available_subtypes(format):
            for rate, channels in ((16000, 1), (44100, 2), (8000, 1)):
                file = io.BytesIO()
                try:
                    soundfile.write(file, rng.normal(0, 0.1, (rate // 5, channels)), rate, subtype, format=format)
                except (soundfile.SoundFileError, TypeError, ValueError):
                    continue
                found.setdefault(format.lower(), []).append(file.getvalue())
    return found


def write_audio(rng: Generator, folder: Path) -> Path:
    # Half of them of the formats that people have.
    usual = ("wav", "flac", "ogg", "mp3")
    formats = recordings()
    suffix = choose(rng, usual if rng.random() < 0.5 else sorted(formats))
    content = choose(rng, formats[suffix])
    others = formats[suffix] if rng.random() < 0.7 else formats[choose(rng, sorted(formats))]
    path = folder / f"clip.{suffix}"
    path.write_bytes(damage_bytes(rng, content, others))
    return path


def read_in_each_way(path: Path, *ways: Callable[[Path], Any]) -> None:
    """Reads a file in several ways, and raises what was said last."""
    problem = None
    for read in ways:
        try:
            read(path)
        except ValueError as error:
            problem = error
    if problem:
        raise problem


def read_audio(path: Path) -> None:
    read_in_each_way(path, lambda path: [len(block) for block in stream_audio(path)], seconds_of, decode_audio)


def corpus_rows(rng: Generator) -> list[dict[str, Any]]:
    as_structs = rng.random() < 0.2
    rows: list[dict[str, Any]] = []
    for number in range(rng.integers(1, 6)):
        audio = choose(rng, ("a.wav", "b.wav", "x\\b.wav"))
        of_row = {"emotion": "joy", "speaker_id": "ravdess/01", "label": "Joy", "corpus": "x"}
        of_row |= {"duration": 0.5 * number, "text": 'Ünd, "so"'}
        rows.append({"audio": {"bytes": None, "path": audio} if as_structs else audio} | of_row)
    return rows


def write_table(rng: Generator, folder: Path) -> Path:
    for number, name in enumerate(("a.wav", "b.wav")):
        (folder / name).write_bytes(recordings()["wav"][number])
    (folder / "x").mkdir()
    shutil.copy(folder / "b.wav", folder / "x")
    rows, is_damaged = corpus_rows(rng), rng.random() < 0.6
    if is_damaged:
        rows = damage_tree(rng, rows)
    suffix = choose(rng, ("csv", "tsv", "jsonl", "json", "parquet"))
    content = encode_table(rows, suffix)
    if not is_damaged or rng.random() < 0.2:
        content = damage_bytes(
            rng, content, [encode_table(corpus_rows(rng), choose(rng, ("csv", "jsonl", "parquet")))]
        )
    path = folder / f"table.{suffix}"
    path.write_bytes(content)
    return path


def encode_table(rows: Any, suffix: str) -> bytes:
    rows = rows if isinstance(rows, list) else [rows]
    if suffix == "json":
        return json.dumps(rows).encode()
    if suffix == "jsonl":
        return "\n".join(map(json.dumps, rows)).encode()
    rows = [row if isinstance(row, dict) else {"x": row} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if suffix == "parquet":
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            try:
                columns[name.encode("utf-8", "replace").decode()] = pa.array(values)
            except (pa.ArrowException, OverflowError, UnicodeError):
                columns[name.encode("utf-8", "replace").decode()] = pa.array(list(map(ascii, values)))
        file = io.BytesIO()
        try:
            pyarrow.parquet.write_table(pa.table(columns), file)
        except pa.ArrowException:
            # It has no objects without fields.
            pyarrow.parquet.write_table(pa.table({"audio": list(map(ascii, rows))}), file)
        return file.getvalue()
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if suffix == "tsv" else ",")
    writer.writerows([names, *([row.get(name, "") for name in names] for row in rows)])
    return text.getvalue().encode("utf-8", "surrogatepass")


def read_table(path: Path) -> None:
    read_in_each_way(path, lambda path: list(Table(path).rows(["label", "text", "duration"])), load_corpus)


@cache
def profile() -> bytes:
    embeddings = {
        "query_tokens": torch.randn(2, 3, 24),
        "speech_mask": torch.ones(2, 5, dtype=torch.float16),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile"
        SpeakerProfile("0" * 64, ["Joy", "Anger"], ["1" * 64, "2" * 64], embeddings).save(path)
        return path.read_bytes()


def damage_safetensors(rng: Generator, content: bytes) -> bytes:
    """By the fields of its header, or now and then by its bytes."""
    if rng.random() < 0.3:
        return damage_bytes(rng, content, [content])
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.get("__metadata__") or {}
    if "profile" in metadata and rng.random() < 0.6:
        metadata["profile"] = json.dumps(damage_tree(rng, json.loads(metadata["profile"])))
    else:
        header = damage_tree(rng, header)
    # As safetensors, which reads UTF-8 alone.
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + content[8 + length :]


def write_profile(rng: Generator, folder: Path) -> Path:
    path = folder / "speaker.profile"
    path.write_bytes(damage_safetensors(rng, profile()))
    return path


@cache
def checkpoints() -> dict[str, dict[str, bytes]]:
    """The files of a tiny speech language model and of a tiny classifier."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        lm, classifier = Path(folder) / "lm", Path(folder) / "classifier"
        tiny_model().save_pretrained(lm)
        tiny_processor().save_pretrained(lm)
        tiny_classifier(enrollment_labels=list(LABELS)).save_pretrained(classifier)
        EmoIclFeatureExtractor().save_pretrained(classifier)
        for path in (lm, classifier):
            found[path.name] = {file.name: file.read_bytes() for file in sorted(path.iterdir())}
    return found


def write_checkpoint(rng: Generator, folder: Path) -> Path:
    files = checkpoints()[choose(rng, ("lm", "lm", "classifier"))]
    for name, content in files.items():
        (folder / name).write_bytes(content)
    name = choose(rng, sorted(name for name in files if name.endswith((".json", ".safetensors"))))
    damage = damage_json if name.endswith(".json") else damage_safetensors
    (folder / name).write_bytes(damage(rng, files[name]))
    return folder / name


def report() -> dict[str, Any]:
    rows = [
        {
            "shots": shots,
            "control": control,
            "ua_spk": 0.5,
            "std": 0.1,
            "max": 0.7,
            "min": 0.3,
            "seed_std": 0.01,
            "worst_speaker": "ravdess/01",
            "per_speaker": {"ravdess/01": 0.3, "ravdess/02": 0.7},
            "ece": 0.05,
            "gini": 0.2,
        }
        for shots, control in ((0, None), (7, None), (7, "rotated"), (7, "other_speaker"))
    ]
    return {"setting": "TU+LD", "seeds": [0, 1], "num_utterances": 20, "rows": rows}


def provenance() -> dict[str, Any]:
    counts = {"speakers": 2, "utterances": 20, "hours": 0.01, "labels": {"Joy": 20}, "speaker_digests": ["0" * 12]}
    stage = {
        "name": "zero_shot",
        "data": {"training": {"ravdess": counts, "mine": counts}, "validation": {"ravdess": counts}},
        "arguments": {"seed": 0, "learning_rate": 1e-3, "eval_shots": [0, 7]},
        "steps": 5,
        "versions": {"emoicl": "0.1.0"},
        "minutes": 1.5,
        "best_step": 4,
        "best_metric": 0.5,
        "metric": "UA_spk",
    }
    remarks = {
        "name": "mine",
        "summary": "A model.",
        "results": ["Good."],
        "limits": ["Small."],
        "base_models": ["a/b"],
    }
    return {"schema_version": 1, "base_models": ["a/b"], "stages": [stage], "remarks": remarks, "is_complete": True}


def matrix() -> dict[str, Any]:
    cells = [
        {"system": "mine", "corpus": corpus, "mark": mark, "report": report() | {"num_utterances": 20}}
        for corpus, mark in (("ravdess", "*"), ("nemo", ""))
    ]
    for row in (row for cell in cells for row in cell["report"]["rows"]):
        row["nll"] = 1.5
    systems = [{"name": "mine", "identity": "0" * 64}]
    return {"setting": "TU+LD", "seeds": [0, 1], "systems": systems, "cells": cells}


def write_card(rng: Generator, folder: Path) -> Path:
    contents = {"report.json": report(), "provenance.json": provenance(), "matrix.json": matrix()}
    encoded = {name: json.dumps(content).encode() for name, content in contents.items()}
    of_model = ("config.json", "processor_config.json", "model.safetensors")
    encoded |= {name: checkpoints()["lm"][name] for name in of_model}
    damaged = choose(rng, (*contents, *of_model))
    for name, content in encoded.items():
        if name == damaged:
            damage = damage_safetensors if name.endswith(".safetensors") else damage_json
            content = damage(rng, content)
        (folder / name).write_bytes(content)
    return folder / damaged


@cache
def recipes() -> list[bytes]:
    return [path.read_bytes() for path in sorted(RECIPES.rglob("*.yaml"))]


def write_recipe(rng: Generator, folder: Path) -> Path:
    content = choose(rng, recipes())
    if rng.random() < 0.3:
        content = damage_bytes(rng, content, recipes())
    else:
        tree = damage_tree(rng, yaml.safe_load(content))
        content = (yaml.safe_dump(tree, allow_unicode=False) if rng.random() < 0.5 else json.dumps(tree)).encode()
    path = folder / "recipe.yaml"
    path.write_bytes(content)
    return path


def feature_cache(folder: Path) -> FeatureCache:
    """A cache that keeps its shards in a folder itself."""
    cache = FeatureCache(reader_of_features(), tiny_processor().feature_extractor)
    cache.shards.folder = folder
    return cache


@cache
def reader_of_features() -> EmoIclForConditionalGeneration:
    return tiny_model().eval()


def write_features(rng: Generator, folder: Path) -> Path:
    """What a feature cache in the folder keeps of two clips."""
    feature_cache(folder).fill(clips_of_features())
    [path] = folder.glob("*.safetensors")
    path.write_bytes(damage_safetensors(rng, path.read_bytes()))
    return path


def clips_of_features() -> list[Utterance]:
    return [Utterance(recordings()[kind][0], "Joy", "ravdess/01", f"a.{kind}") for kind in ("wav", "flac")]


# Clips of corpora in the folders that people have, and other files beside them.
LAYOUTS = {
    "ravdess": (
        ("Actor_05/03-01-01-01-01-01-05.wav", "Actor_05/03-01-03-02-01-01-05.wav", "Actor_6/03-02-03-01-01-01-06.wav"),
        ("03-01-01-01-01-01-05.wav", "03-01-03-01-01-01-05.wav"),
        ("Actor_01/03-01-05-01-01-01-01.wav", "audio_speech_actors_01-24/Actor_01/03-01-05-01-01-01-01.wav"),
    ),
    "crema-d": (
        ("AudioWAV/1001_IEO_ANG_HI.wav", "AudioWAV/1002_TIE_SAD_XX.wav"),
        (
            "AudioWAV/1001_IEO_ANG_HI.wav", "AudioWAV/1002_TIE_SAD_XX.wav", "AudioMP3/1001_IEO_ANG_HI.mp3",
            "SentenceFilenames.csv", "VideoDemographics.csv", "processedResults/tabulatedVotes.csv",
        ),
    ),
    "savee": (
        ("ALL/DC_a01.wav", "ALL/DC_sa01.wav", "ALL/JE_su02.wav"),
        ("AudioData/DC/a01.wav", "AudioData/DC/sa01.wav", "AudioData/JE/su02.wav", "AudioData/Info.txt"),
    ),
    "emo-db": (("wav/03a01Fa.wav", "wav/08b01Wb.wav"), ("03a01Fa.wav", "16b10Lb.wav", "03a01Nc.wav")),
    "esd": (
        ("0011/Angry/0011_000351.wav", "0011/Sad/0011_001051.wav", "0011/0011.txt"),
        ("Emotion Speech Dataset/0003/Neutral/train/0003_000051.wav", "0003.txt"),
    ),
    "tess": (
        ("OAF_Fear/OAF_back_fear.wav", "YAF_pleasant_surprised/YAF_back_ps.wav", "OAF_neutral/OA_bite_neutral.wav"),
        ("OAF_back_fear.wav", "TESS Toronto emotional speech set data/OAF_Fear/OAF_back_fear.wav"),
    ),
}  # fmt: skip
TEXTS = {
    "SentenceFilenames.csv": b'"Stimulus_Number","Filename"\n1,"1001_IEO_ANG_HI"\n2,"1002_TIE_SAD_XX"\n',
    "VideoDemographics.csv": b'"ActorID","Age","Sex","Race"\n1001,51,"Male","x"\n1002,21,"Female","y"\n',
    "tabulatedVotes.csv": b'"","A","D","F","H","N","S","fileName","numResponses"\n'
    b'"100001",8,0,0,1,1,0,"1001_IEO_ANG_HI",10\n"200001",9,0,0,0,0,0,"1002_TIE_SAD_XX",9\n',
    "0011.txt": "0011_000351\tTom\u2019s caf\u00e9.\tAngry\n0011_001051 I say nay. Sad\n".encode("cp1252"),
    "0003.txt": "0003_000051\t\u6253\u8fdc\u4e00\u770b\t\u4e2d\u7acb\r\n".encode("utf-16"),
    "Info.txt": b"SAVEE",
}


def write_corpus(rng: Generator, folder: Path) -> Path:
    """A corpus in a folder of its name, of which up to four files are damaged, elsewhere, or called otherwise."""
    name = choose(rng, sorted(LAYOUTS))
    source = folder / name
    paths = [source / relative for relative in choose(rng, LAYOUTS[name])]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TEXTS.get(path.name, recordings()["wav"][number]))
    for _ in range(rng.integers(1, 5)):
        damage_file(rng, choose(rng, paths), choose(rng, paths))
    return source


def damage_file(rng: Generator, path: Path, other: Path) -> None:
    """Damages what is in a file, or puts it or another thing where it should not be."""
    if not path.is_file() or path.is_symlink():
        return
    # As a name has it that somebody typed.
    mistyped = damage_bytes(rng, os.fsencode(path.name), [os.fsencode(other.name)])
    mistyped = os.fsdecode(mistyped.translate(None, b"\0/")[:200]) or "x"
    name = choose(rng, ODD_NAMES) if rng.random() < 0.4 else mistyped
    elsewhere = path.parent / choose(rng, ("", "..", "x/y", "Sad", ".hidden", "__MACOSX")) / name
    match choose(rng, ("content", "content", "text", "gone", "moved", "moved", "copied", "folder", "link", "loop")):
        case "content":
            path.write_bytes(damage_bytes(rng, path.read_bytes(), [other.read_bytes() if other.is_file() else b""]))
        case "text":
            path.write_bytes(choose(rng, (b"", *TEXTS.values())))
        case "gone":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "link":
            path.unlink()
            path.symlink_to("nowhere")
        case "loop":
            path.unlink()
            path.symlink_to(path.name)
        case way if path.suffix in (".wav", ".mp3") or rng.random() < 0.5:
            elsewhere.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(elsewhere):
                (shutil.move if way == "moved" else shutil.copy)(path, elsewhere)


def read_corpus(source: Path) -> None:
    prepared = source.parent / "prepared"
    prepare(find_corpus(source.name)(source), prepared, allow_missing=True)
    load_corpus(sorted((prepared / "data").glob("*.parquet")))


@cache
def foreign_checkpoints() -> dict[str, dict[str, bytes]]:
    """The files of speech encoders and language models as the Hub has them."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("whisper", "wav2vec2", "wav2vec2-bert"):
            save_speech_encoder(kind, Path(folder) / f"speech-{kind}")
        for kind in ("flan-t5", "bart", "llama"):
            save_language_model(kind, Path(folder) / f"language-{kind}", LABELS)
        for path in Path(folder).iterdir():
            found[path.name] = {file.name: file.read_bytes() for file in sorted(path.iterdir())}
    return found


def write_foreign(rng: Generator, folder: Path) -> Path:
    parts = {
        part: foreign_checkpoints()[
            choose(rng, sorted(name for name in foreign_checkpoints() if name.startswith(part)))
        ]
        for part in ("speech", "language")
    }
    for part, files in parts.items():
        (folder / part).mkdir()
        for name, content in files.items():
            (folder / part / name).write_bytes(content)
    part = choose(rng, ("speech", "language"))
    name = choose(rng, sorted(name for name in parts[part] if name.endswith((".json", ".safetensors"))))
    damage = damage_json if name.endswith(".json") else damage_safetensors
    (folder / part / name).write_bytes(damage(rng, parts[part][name]))
    return folder / part / name


def read_foreign(path: Path) -> None:
    """As `emoicl init` does."""
    speech, language = (str(path.parents[1] / part) for part in ("speech", "language"))
    compose(speech, LABELS, language_model=language, num_query_tokens=2, max_shots=3, qformer=SMALL)


KINDS = {
    "audio": Kind(write_audio, read_audio),
    "table": Kind(write_table, read_table, ("a.wav", "b.wav")),
    "features": Kind(write_features, lambda path: feature_cache(path.parent).load(clips_of_features())),
    "profile": Kind(write_profile, SpeakerProfile.load),
    "checkpoint": Kind(write_checkpoint, lambda path: load_pipeline(path.parent)),
    "card": Kind(write_card, lambda path: checkpoint_card(path.parent).encode()),
    "recipe": Kind(write_recipe, load_recipe),
    # A preparation names the files in its report.
    "corpus": Kind(write_corpus, read_corpus, ("report.txt",)),
    "foreign": Kind(write_foreign, read_foreign),
}


def make_file(kind: str, seed: int, number: int, folder: Path) -> Path:
    """
    A damaged file, in a folder that then holds it and what it needs alone.

    Args:
        kind (`str`): One of `KINDS`.
        seed (`int`): Seed of the run.
        number (`int`): Which of its files.
        folder (`Path`): The folder.

    Returns:
        `Path`: The file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return KINDS[kind].write(np.random.default_rng((seed, number)), folder)
