"""`emoicl predict`: labels of audio files, with or without an enrollment."""

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoicl_commands.env import check_device
from emoicl_commands.parser import ABOUT_MODELS, add_model_argument, check_shard, chosen_model


if TYPE_CHECKING:
    from emoicl.processing.pipeline_emoicl import EmoIclPipeline
    from emoicl.processing.profile_emoicl import SpeakerProfile
    from emoicl.training.publishing.checkpoint import EmotionPipeline


EPILOG = """\
The enrollment is a table (.csv, .tsv, .json, .jsonl) with the columns audio (a path, relative to the file, or a
URL) and label, best with one utterance of each label:

  audio,label
  calm.wav,Neutral
  wow.wav,Surprise
  monday.wav,Sadness
  birthday.wav,Joy
  alley.wav,Fear
  leftovers.wav,Disgust
  traffic.wav,Anger

With fewer the answers gain less, and labels without an utterance are told by those of other speakers alone. A label
may be left empty where it is not known. A table of the column audio alone, or a folder of clips, has none.

  emoicl predict hello.wav --enroll me.csv                        a line of JSON for each file
  emoicl predict recordings/ --enroll me.csv --output out.csv     all audio in a folder and below it, to a table
  emoicl predict hello.wav --enroll my-recordings/                clips of that person, without labels
  emoicl predict --enroll me.csv --save-profile me.profile        encode the enrollment once; no audio is kept
  emoicl predict hello.wav --profile me.profile                   and use it again, without the recordings
  emoicl predict hello.wav --profile me.profile --enroll more.csv --save-profile me.profile     add to it
  emoicl predict meeting.mp3 --window 4 --hop 2                   a long recording, answered every 2 s
  emoicl predict hello.wav --labels Joy Anger Boredom             choose from these labels

Without --enroll and --profile, the answer is zero-shot. Files are of one person; a profile is of the model that made
it. Clips in a folder that are enrolled are left out and counted, as their label is told. A file
that cannot be used is named with its reason, and the others go on; the exit status is then 1. With
--window every file has a timeline, whose windows reach to its last sample; a silent one has no labels. Lines are
written as they are known, so that an interruption keeps those before it.

Several devices share the files, and write one table. Machines that do not know of each other take a part each:

  accelerate launch -m emoicl_commands.cli predict recordings/ --output out.csv
  emoicl predict recordings/ --output out-0.csv --num-shards 2 --shard 0

Familiarity is the share of the training recordings, as heard by statistics of other speakers, that sound no more
familiar; below .05 a note says so. --abstain-below gives no labels where the best of them is not probable enough.

Enroll a person only with their consent, and delete their profile when they ask.
"""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "predict",
        help="classify audio files",
        description=ABOUT_MODELS,
        epilog=EPILOG,
    )
    parser.add_argument(
        "audio",
        nargs="*",
        help="files (wav, flac, ogg, opus, mp3; m4a, aac, webm with FFmpeg or torchcodec), URLs, folders",
    )
    parser.add_argument("--enroll", type=Path, metavar="TABLE", help="utterances of that person, or a folder of them")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="their enrollment as --save-profile wrote it")
    parser.add_argument("--save-profile", type=Path, metavar="FILE", help="keep the encoded enrollment in this file")
    parser.add_argument("--output", type=Path, metavar="FILE", help=".csv or .jsonl (default: JSON lines, printed)")
    parser.add_argument(
        "--window", dest="window_s", type=float, metavar="S", help="answer for every window of S seconds"
    )
    parser.add_argument(
        "--hop", dest="hop_s", type=float, metavar="S", help="seconds between windows (default: half a window)"
    )
    parser.add_argument("--num-shards", type=int, default=1, metavar="N", help="take only one of N parts of the files")
    parser.add_argument("--shard", type=int, default=0, metavar="I", help="which part, from 0 (default: 0)")
    parser.add_argument("--batch-size", type=int, default=8, help="files or windows at a time (default: 8)")
    add_model_argument(parser)
    parser.add_argument(
        "--labels",
        dest="candidate_labels",
        nargs="+",
        metavar="LABEL",
        help="choose from these (default: the model's)",
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="give only the K most probable labels")
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="give only labels with a probability of at least P"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, xpu or mps (default: the best that is here)")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], help="precision (default: as stored)")
    parser.add_argument(
        "--abstain-below", type=float, metavar="P", help="give no labels where none is as probable as P"
    )
    parser.add_argument(
        "--min-familiarity", type=float, metavar="F", help="nor where the recording sounds less familiar than F"
    )
    parser.add_argument("--decoding", choices=["labels", "beam"], default="labels", help="default: labels")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    check_options(options)
    from accelerate import PartialState
    from tqdm.auto import tqdm

    from emoicl.loading import check_decoding, check_labels, load_pipeline
    from emoicl.training.data.processes import device_of_process

    files = find_audio(options.audio)[options.shard :: options.num_shards]
    examples, places = read_enrollment(options.enroll) if options.enroll else ([], [])
    recordings = [*map(Path, files), *(example["audio"] for example in examples if isinstance(example["audio"], Path))]
    for option, output in (("--output", options.output), ("--save-profile", options.save_profile)):
        refuse_overwriting(option, output, (("recording", recording) for recording in recordings))
    model = chosen_model(options)
    recognizer = load_pipeline(model, options.device or device_of_process(), options.dtype)
    check_decoding(model, recognizer, options.decoding)
    check_labels(model, recognizer, options.candidate_labels)
    recognizer.window_samples(options.window_s, options.hop_s)
    parameters, places = enrollment_parameters(options, recognizer, examples, places)
    for name in ("top_k", "window_s", "hop_s", "candidate_labels", "abstain_below", "min_familiarity"):
        if (value := getattr(options, name)) is not None:
            parameters[name] = value
    if recognizer.tells_familiarity:
        parameters["return_familiarity"] = True
    if options.decoding == "beam":
        parameters["decoding"] = "beam"
    if not files:
        return

    results = predict_together(recognizer, files, options.batch_size, parameters)
    if not PartialState().is_main_process:
        # The main process writes them.
        for _ in results:
            pass
        return
    num_unusable = num_enrolled = 0
    labels = options.candidate_labels or recognizer_labels(recognizer)
    with (
        # Of beam search a table has no column for a label: it may write any text.
        open_output(options.output, [] if options.decoding == "beam" else labels) as write,
        tqdm(total=len(files), desc="Predicting", unit="file", disable=None) as progress,
    ):
        for result in results:
            progress.update()
            if result.pop("is_enrolled", False) and result["audio"] not in options.audio:
                num_enrolled += 1
                continue
            if "error" in result:
                num_unusable += 1
                result["error"] = options.parser.in_options(name_shots(result["error"], places))
                tqdm.write(f"{result['audio']}: {result['error']}", file=sys.stderr)
            write(probable(result, options.threshold))
    if num_enrolled:
        print(f"Left out {num_enrolled} of {len(files)} files, which are enrolled.", file=sys.stderr)
    if options.output:
        print(f"Wrote {options.output}: {len(files) - num_enrolled} files.")
    if num_unusable:
        raise ValueError(f"{num_unusable} of {len(files)} files could not be used; they are named above.")


def check_options(options: argparse.Namespace) -> None:
    """Refuses what cannot be meant, before anything is loaded."""
    if not options.audio and not options.save_profile:
        raise ValueError("Name audio files or folders to classify, or --save-profile to keep an enrollment.")
    if options.save_profile and not (options.enroll or options.profile):
        raise ValueError("--save-profile keeps an enrollment: give it by --enroll.")
    if options.output and options.output.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"--output {options.output}: its name must end in .csv or .jsonl.")
    enrollment, profile = ("enrollment", options.enroll), ("profile", options.profile)
    refuse_overwriting("--output", options.output, [enrollment, profile, ("profile", options.save_profile)])
    # What is in the profile is in the saved one too.
    refuse_overwriting("--save-profile", options.save_profile, [enrollment])
    for name, value in (("--batch-size", options.batch_size), ("--top-k", options.top_k)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is at least 1; got {value}.")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ValueError(f"--threshold is a probability, 0 to 1; got {options.threshold}.")
    if options.device is not None:
        check_device(options.device)
    check_shard(options)
    for name, share in (("--abstain-below", options.abstain_below), ("--min-familiarity", options.min_familiarity)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name} is a number from 0 to 1; got {share}.")


def refuse_overwriting(option: str, output: Path | None, inputs: Iterable[tuple[str, Path | None]]) -> None:
    """Refuses an output that is one of the inputs, each with what it is, by whatever name."""
    for kind, path in inputs:
        if output and path and is_same_file(output, path):
            raise ValueError(f"{option} {output} would overwrite the {kind} {path}; name another file.")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file, by whatever name; files that are not there yet have one name each."""
    return one.samefile(other) if one.exists() and other.exists() else one.resolve() == other.resolve()


def find_audio(paths: Sequence[str]) -> list[str]:
    """The files that are named, and the audio files in and below the folders that are named, sorted.

    Args:
        paths (`Sequence[str]`): Files and folders. Hidden files in folders are passed over.

    Raises:
        `ValueError`: If a folder holds no audio, or cannot be read.
    """
    from emoicl.training.corpora.base import AUDIO_SUFFIXES, files_below, is_audio

    files: list[str] = []
    for name in paths:
        path = Path(name)
        if not path.is_dir():
            files.append(name)
            continue
        found = [str(file) for file in files_below(path) if is_audio(file)]
        if not found:
            raise ValueError(f"{path}: no audio in this folder; its files end in {', '.join(sorted(AUDIO_SUFFIXES))}.")
        files += found
    return files


@contextmanager
def naming_shots(places: Sequence[str]) -> Iterator[None]:
    """Calls the utterances of an enrollment by where they stand, in what is said of them."""
    try:
        yield
    except ValueError as error:
        raise ValueError(name_shots(str(error), places)) from error


def name_shots(message: str, places: Sequence[str]) -> str:
    return re.sub(r"enrollment\[(\d+)\]", lambda found: places[int(found[1])], message)


def enrollment_parameters(
    options: argparse.Namespace, recognizer: "EmotionPipeline", examples: list[dict[str, Any]], places: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """What the pipeline is told of the speaker, checked and encoded once for all files; and where each utterance
    stands, those of a profile first."""
    from accelerate import PartialState

    from emoicl.processing.pipeline_emoicl import EmoIclPipeline

    with naming_shots(places):
        if not isinstance(recognizer, EmoIclPipeline):
            if options.profile or options.save_profile:
                raise ValueError(
                    f"{options.model} is a classifier: profiles are of speech language models. Use --enroll alone."
                )
            return ({"enrollment": recognizer.decode_enrollment(examples)} if examples else {}), places
        profile = make_profile(recognizer, examples, options.profile, options.candidate_labels)
    if profile is None:
        return {}, places
    places = [f"{options.profile}, utterance {i}" for i in range(1, 1 + len(profile) - len(examples))] + places
    # Of a profile that is only kept, the next command may name the labels.
    if options.audio:
        with naming_shots(places):
            recognizer.processor.match_enrollment_labels(profile.labels, options.candidate_labels)
    if options.save_profile and PartialState().is_main_process:
        profile.save(options.save_profile)
        print(f"Wrote {options.save_profile}: {len(profile)} utterances enrolled.", file=sys.stderr)
    return {"profile": profile}, places


def make_profile(
    recognizer: "EmoIclPipeline", examples: list[dict], path: Path | None, labels: list[str] | None
) -> "SpeakerProfile | None":
    """The profile of a file, with the examples behind what it holds."""
    from emoicl.processing.profile_emoicl import SpeakerProfile

    profile = SpeakerProfile.load(path) if path else None
    if profile is not None:
        profile.check_model(recognizer.model_fingerprint)
    if not examples:
        return profile
    enrolled = recognizer.enroll(examples, labels)
    if profile is None:
        return enrolled
    profile.add(enrolled)
    return profile


def predict_together(
    recognizer: "EmotionPipeline", files: Sequence[str], batch_size: int, parameters: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """What [`predict`] gives, by all processes that `accelerate launch` started: each answers for a batch at a time,
    and all have all answers, in the order of the files."""
    from accelerate import PartialState

    from emoicl.training.data.processes import map_shared

    def answer(start: int) -> list[dict[str, Any]]:
        return list(predict(recognizer, files[start : start + batch_size], batch_size, parameters))

    starts = range(0, len(files), batch_size)
    at_a_time = PartialState().num_processes
    if at_a_time == 1:
        yield from predict(recognizer, files, batch_size, parameters)
        return
    for number in range(0, len(starts), at_a_time):
        for results in map_shared(answer, starts[number : number + at_a_time]):
            yield from results


def predict(
    recognizer: "EmotionPipeline", files: Sequence[str], batch_size: int, parameters: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """
    Answers for one file after the other, in batches.

    Args:
        recognizer ([`EmoIclPipeline`] or [`EmoIclClassificationPipeline`]): The pipeline.
        files (`Sequence[str]`): Audio files.
        batch_size (`int`): Number of files, or of windows, at a time.
        parameters (`dict[str, Any]`): Of the pipeline's call.

    Returns:
        `Iterator[dict[str, Any]]`: `audio`, and `labels`, `timeline` or `error`, for each file; of one that is
            enrolled `is_enrolled` too. Beside labels stand
            `familiarity`, if it is asked for, and a `note` where it is small.
    """
    from emoicl.training.data.text_tables import printable

    kind = "timeline" if "window_s" in parameters else "labels"
    # The windows of a recording are a batch in themselves, and recordings may be long.
    step = 1 if kind == "timeline" else batch_size
    for start in range(0, len(files), step):
        batch = list(files[start : start + step])
        try:
            answers = recognizer(batch, batch_size=batch_size, **parameters)
        except ValueError:
            # One of them cannot be used, and the others only one by one.
            yield from (predict_one(recognizer, file, kind, batch_size, parameters) for file in batch)
        else:
            for file, answer in zip(batch, answers, strict=True):
                yield {"audio": printable(file)} | noted(kind, answer)


def predict_one(
    recognizer: "EmotionPipeline", file: str, kind: str, batch_size: int, parameters: dict[str, Any]
) -> dict[str, Any]:
    """The answer for one file, or the reason why there is none."""
    from emoicl.processing.enrollment_emoicl import EnrolledTargetError
    from emoicl.training.data.text_tables import printable

    result: dict[str, Any] = {"audio": printable(file)}
    try:
        return result | noted(kind, recognizer(file, batch_size=batch_size, **parameters))
    except ValueError as error:
        result["error"] = printable(str(error).removeprefix(f"audio ({file}): "))
        return result | ({"is_enrolled": True} if isinstance(error, EnrolledTargetError) else {})


def noted(kind: str, answer: Any) -> dict[str, Any]:
    """The answer about a file as a result has it, with a note wherever it is not to be trusted."""
    from emoicl.trust import note_on

    parts = answer if kind == "timeline" else [answer if isinstance(answer, dict) else {"labels": answer}]
    for part in parts:
        if note := note_on(part.get("familiarity")):
            part["note"] = note
    return {kind: parts} if kind == "timeline" else parts[0]


def recognizer_labels(recognizer: "EmotionPipeline") -> list[str]:
    """The labels that a model chooses from."""
    id2label: Any = recognizer.model.config.id2label
    return list(id2label.values())


def probable(result: dict[str, Any], threshold: float | None) -> dict[str, Any]:
    """A result without the labels that are less probable than a threshold."""
    if threshold is None or "error" in result:
        return result
    if "timeline" in result:
        return result | {"timeline": [probable(window, threshold) for window in result["timeline"]]}
    return result | {"labels": [answer for answer in result["labels"] if answer["score"] >= threshold]}


@contextmanager
def open_output(path: Path | None, labels: Sequence[str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """
    Where results go, each as soon as it is known.

    Args:
        path (`Path`, *optional*): A .csv or .jsonl file; by default JSON lines are printed.
        labels (`Sequence[str]`): Labels that a table has columns for.

    Returns:
        Context manager of a function that writes a result of `predict`.
    """
    if path is None:
        from tqdm.auto import tqdm

        yield lambda result: tqdm.write(json.dumps(result), file=sys.stdout)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = None
        if path.suffix == ".csv":
            scores = [f"P({label})" for label in labels]
            columns = ["audio", "start", "end", "label", "score", *scores, "familiarity", "note", "error"]
            table = csv.DictWriter(file, columns)
            table.writeheader()

        def write(result: dict[str, Any]) -> None:
            if table is None:
                file.write(f"{json.dumps(result)}\n")
            else:
                table.writerows(map(safe_cells, table_rows(result, labels)))
            file.flush()

        yield write


def safe_cells(row: dict[str, Any]) -> dict[str, Any]:
    """A row without texts that a spreadsheet would run as formulas. A path stays one."""
    return {
        name: ("./" if name == "audio" else "'") + value
        if isinstance(value, str) and value.startswith(FORMULA_STARTS)
        else value
        for name, value in row.items()
    }


def table_rows(result: dict[str, Any], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a file: one, or one for each window of its timeline."""
    if "error" in result:
        return [{"audio": result["audio"], "error": result["error"]}]
    rows = []
    for window in result.get("timeline", [result]):
        scores = {answer["label"]: answer["score"] for answer in window["labels"]}
        best = window["labels"][0] if window["labels"] else {}
        told = {name: window[name] for name in ("start", "end", "familiarity", "note") if name in window}
        columns = {f"P({label})": scores[label] for label in labels if label in scores}
        rows.append({"audio": result["audio"], **told, **best, **columns})
    return rows


def read_enrollment(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """
    Reads the utterances of a person.

    Args:
        path (`Path`): A table with the columns `audio`, relative to its folder or a URL, and `label`, which may be
            empty; a table of `audio` alone; or a folder of clips, which have no labels.

    Returns:
        `tuple[list[dict[str, Any]], list[str]]`: `audio` and `label` of each, None for no label; and where each
            stands, such as `"me.csv, line 3"`.

    Raises:
        `ValueError`: If there is no audio in the folder or a row, or the table lacks a column.
    """
    from emoicl.processing.foreign_audio_emoicl import is_url
    from emoicl.training.data.tables import Table

    if path.is_dir():
        files = find_audio([str(path)])
        return [{"audio": Path(file), "label": None} for file in files], files
    table = Table(path)
    # Labels under another name must not be passed over.
    if table.schema.names != ["audio"]:
        table.require(["audio", "label"])
    rows = list(table.rows(["label"]))
    places = [table.place(row.number) for row in rows]
    if incomplete := [place for row, place in zip(rows, places, strict=True) if row.clip is None]:
        raise ValueError(f"{', '.join(incomplete)}: no audio.")
    clips = [row.path if isinstance(row.clip, Path) and is_url(row.path) else row.clip for row in rows]
    labels = [row.texts["label"] or None for row in rows]
    return [{"audio": clip, "label": label} for clip, label in zip(clips, labels, strict=True)], places
