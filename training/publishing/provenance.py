"""The provenance of a checkpoint, how it was trained: a JSON file that travels beside its weights."""

import hashlib
import io
import json
import math
import platform
import re
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, get_type_hints

import soundfile
import torch
import transformers
from transformers import PreTrainedModel, Seq2SeqTrainingArguments, TrainerState, TrainingArguments
from transformers.utils.hub import cached_file

from emoicl.processing.audio_emoicl import naming
from emoicl.processing.audio_file_emoicl import read_blocks
from emoicl.training.data.corpus import Corpus
from emoicl.training.data.utterances import corpus_of
from emoicl.training.publishing.schema import mismatch, one_line, read_json, shown


PROVENANCE_NAME = "provenance.json"
REPORT_NAME = "report.json"
PLOT_NAME = "accuracy_against_shots.png"
MATRIX_NAME = "matrix.json"
SCHEMA_VERSION = 1
DIGESTS = "digests"
# Headers that tell of more are often those of streams.
TRUSTED_SECONDS = 60
# Arguments of every Trainer that a reader needs to judge or repeat a run; those of our own trainers are all told.
COMMON_ARGUMENTS = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "label_smoothing_factor",
    "bf16",
    "fp16",
    "seed",
    "data_seed",
)
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


class CorpusCounts(TypedDict):
    """What a corpus consists of, see [`describe_corpus`]."""

    speakers: int
    utterances: int
    hours: float
    labels: dict[str, int]
    speaker_digests: list[str]


class Stage(TypedDict):
    """A Trainer run, see [`describe_stage`]. What is not required is known only when it has ended."""

    name: str
    data: dict[str, dict[str, CorpusCounts]]
    arguments: dict[str, Any]
    steps: int
    versions: dict[str, str]
    minutes: NotRequired[float]
    best_step: NotRequired[int]
    best_metric: NotRequired[float]
    metric: NotRequired[str]


class Remarks(TypedDict, total=False):
    """What a person may say of a model that no run can tell."""

    name: str
    summary: str
    results: list[str]
    limits: list[str]
    base_models: list[str]


REMARKS = tuple(Remarks.__annotations__)


class ReportRow(TypedDict):
    """What is read of a condition of an evaluation, see [`EvaluationReport.as_dict`]."""

    shots: int
    control: Literal["rotated", "other_speaker", "unlabeled"] | None
    ua_spk: float
    std: float
    max: float
    min: float
    seed_std: float
    worst_speaker: str
    per_speaker: dict[str, float]
    ece: NotRequired[float]
    gini: NotRequired[float]


class Report(TypedDict):
    """What is read of `report.json`, see [`EvaluationReport.as_dict`]."""

    setting: str
    seeds: list[int]
    num_utterances: int
    rows: list[ReportRow]


@dataclass
class Provenance:
    """
    How a checkpoint came about. What is not known is empty.

    Args:
        base_models (`list[str]`): Hub names of the models that training began with.
        stages (`list[Stage]`): Each Trainer run since then.
        remarks (`Remarks`): What was written by hand: `name` of the model, a `summary`, lists of sentences on its
            `results` and `limits`, and `base_models` if training began with copies of them.
        is_complete (`bool`): Whether the stages are all the training there was since the base models.

    Raises:
        `ValueError`: If a field is of another type, or there is a remark of another name.
    """

    base_models: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    remarks: Remarks = field(default_factory=Remarks)
    is_complete: bool = True

    def __post_init__(self):
        for name, expected in get_type_hints(type(self)).items():
            if problem := mismatch(getattr(self, name), expected, f"`{name}`"):
                raise ValueError(f"{problem}.")
        if other := sorted(set(self.remarks) - set(REMARKS)):
            raise ValueError(f"A card has no remarks called {', '.join(other)}; there are {', '.join(REMARKS)}.")

    @classmethod
    def load(cls, path: str | Path) -> "Provenance":
        """
        Reads `provenance.json`.

        Args:
            path (`str` or `Path`): The file.

        Raises:
            `ValueError`: If it was written by a later version of this package, is damaged, or holds something else.
        """
        content = read_json(path, dict[str, Any])
        found = content.pop("schema_version", None)
        if found != SCHEMA_VERSION:
            raise ValueError(
                f"{path}: schema_version is {shown(found)}; this version of emoicl reads {SCHEMA_VERSION}."
            )
        if other := sorted(content.keys() - {item.name for item in fields(cls)}):
            raise ValueError(f"{path}: a provenance has no {one_line(', '.join(other))}.")
        try:
            return cls(**content)
        except ValueError as error:
            raise ValueError(f"{path}: {one_line(str(error))}") from None

    @classmethod
    def of_model(cls, model: PreTrainedModel) -> "Provenance":
        """
        That of a model before it is trained further: the provenance of the checkpoint that it was loaded from.

        Args:
            model (`PreTrainedModel`): The model. Its `name_or_path` is the checkpoint, empty if it is new.

        Returns:
            [`Provenance`]: Without remarks, which hold for that checkpoint alone.
        """
        checkpoint = model.name_or_path
        if not checkpoint:
            config: Any = model.config
            parts = [getattr(config, name, None) for name in ("speech_config", "text_config")]
            return cls(base_models=hub_names([getattr(part, "_name_or_path", "") for part in parts]))
        path = find_provenance(checkpoint)
        provenance = cls(is_complete=False) if path is None else cls.load(path)
        known = provenance.remarks.get("base_models", provenance.base_models)
        provenance.base_models = hub_names([checkpoint]) or known
        provenance.remarks = {}
        return provenance

    def save(self, folder: str | Path) -> None:
        """Writes `provenance.json` into the folder of a checkpoint."""
        content = {"schema_version": SCHEMA_VERSION} | asdict(self)
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / PROVENANCE_NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def heard(self) -> set[str]:
        """Digests of all speakers that were trained on or that chose a checkpoint; see [`speaker_digest`]."""
        data = [of_corpus for stage in self.stages for part in stage["data"].values() for of_corpus in part.values()]
        return {digest for of_corpus in data for digest in of_corpus["speaker_digests"]}


def find_provenance(checkpoint: str) -> Path | None:
    """`provenance.json` of a local or a Hub checkpoint; `None` if it has none, or the Hub cannot be reached."""
    if Path(checkpoint).is_dir():
        path = Path(checkpoint) / PROVENANCE_NAME
        return path if path.is_file() else None
    if not _HUB_NAME.fullmatch(checkpoint):
        return None
    found = cached_file(
        checkpoint,
        PROVENANCE_NAME,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


def hub_names(names: list[str]) -> list[str]:
    """Those that name a repository of the Hub: a local folder means nothing to others, and may tell who trained."""
    return [name for name in names if _HUB_NAME.fullmatch(name or "") and not Path(name).exists()]


def carry_provenance(
    source: str | Path, target: str | Path, remarks: Remarks | None = None, before: str | Path | None = None
) -> None:
    """
    Copies all that a card is made of to another folder with the same weights, as far as it is there.

    Args:
        source (`str` or `Path`): Folder of the checkpoint, or the `output_dir` of its training.
        target (`str` or `Path`): Folder of its copy.
        remarks (`Remarks`, *optional*): Remarks to add.
        before (`str` or `Path`, *optional*): Folder of the checkpoint whose speech encoder the training began with.
    """
    source, target = Path(source), Path(target)
    target.mkdir(parents=True, exist_ok=True)
    save_report(source, target)
    if (source / MATRIX_NAME).is_file():
        (target / MATRIX_NAME).write_bytes((source / MATRIX_NAME).read_bytes())
    if (source / PROVENANCE_NAME).is_file():
        provenance = Provenance.load(source / PROVENANCE_NAME)
        stages = (Provenance.load(Path(before) / PROVENANCE_NAME).stages if before else []) + provenance.stages
        replace(provenance, stages=stages, remarks={**provenance.remarks, **(remarks or {})}).save(target)


def add_data(folder: str | Path, part: str, corpus: Corpus) -> None:
    """
    Adds utterances to the last stage of a checkpoint's provenance.

    Args:
        folder (`str` or `Path`): Folder of the checkpoint.
        part (`str`): What they were for, such as `"left_out"`: to weigh a speaker adaptation by other corpora.
        corpus ([`Corpus`]): The utterances.
    """
    provenance = Provenance.load(Path(folder) / PROVENANCE_NAME)
    provenance.stages[-1]["data"][part] = describe_corpus(corpus)
    provenance.save(folder)


def save_report(evaluation: str | Path, checkpoint: str | Path) -> None:
    """
    Puts the report of an evaluation, and its plot, beside the checkpoint that it is on, as far as they are there. The
    report has digests in place of the speakers' names, which are not for everybody.

    Args:
        evaluation (`str` or `Path`): Folder that `emoicl evaluate` wrote.
        checkpoint (`str` or `Path`): Folder of the checkpoint.
    """
    evaluation, checkpoint = Path(evaluation), Path(checkpoint)
    if (evaluation / REPORT_NAME).is_file():
        report = with_digests(read_report(evaluation / REPORT_NAME))
        (checkpoint / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if (evaluation / PLOT_NAME).is_file():
        (checkpoint / PLOT_NAME).write_bytes((evaluation / PLOT_NAME).read_bytes())


def read_report(path: str | Path) -> Report:
    """
    Reads `report.json`.

    Raises:
        `ValueError`: If it is damaged, or no report of an evaluation.
    """
    report = read_json(path, Report)
    own = [row["per_speaker"].keys() for row in report["rows"] if row["control"] is None]
    if not own or not own[0]:
        raise ValueError(f"{path}: has no speakers, or no row without a control.")
    if any(speakers != own[0] for speakers in own):
        raise ValueError(f"{path}: its rows are on different speakers.")
    return report


def with_digests(report: Report) -> dict[str, Any]:
    """
    A report without the names of speakers.

    Args:
        report (`Report`): Content of `report.json`.

    Returns:
        `dict`: The same, `"emogator/000261"` being `"emogator/"` and a digest; see [`speaker_digest`].
    """
    if report.get("speakers") == DIGESTS:
        return dict(report)

    def name(speaker_id: str) -> str:
        return f"{corpus_of(speaker_id)}/{speaker_digest(speaker_id)}"

    rows = [
        row
        | {
            "worst_speaker": name(row["worst_speaker"]),
            "per_speaker": {name(speaker_id): accuracy for speaker_id, accuracy in row["per_speaker"].items()},
        }
        for row in report["rows"]
    ]
    return dict(report) | {"speakers": DIGESTS, "rows": rows}


def describe_stage(
    args: TrainingArguments, state: TrainerState, training: Corpus, validation: Corpus | None = None
) -> Stage:
    """
    A Trainer run as a provenance tells it.

    Args:
        args (`TrainingArguments`): Its arguments.
        state (`TrainerState`): Its state, for the number of steps done.
        training ([`Corpus`]): Utterances of the training speakers.
        validation ([`Corpus`], *optional*): Those of the speakers that choose a checkpoint.

    Returns:
        `Stage`: `name`, `data` (by `"training"` and `"validation"`, then by corpus), `arguments`, `steps` and
            `versions`, to be written as JSON.
    """
    data = {"training": describe_corpus(training)}
    if validation is not None:
        data["validation"] = describe_corpus(validation)
    return {
        "name": Path(str(args.output_dir)).name,
        "data": data,
        "arguments": describe_arguments(args),
        "steps": state.global_step,
        "versions": {
            "emoicl": version("emoicl"),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def describe_arguments(args: TrainingArguments) -> dict[str, Any]:
    """How a run was done, by name of the argument; what was left open is not there."""
    own = {item.name for item in fields(args)} - {item.name for item in fields(Seq2SeqTrainingArguments)}
    names = [item.name for item in fields(args) if item.name in own and not item.name.startswith("eval_")]
    told: dict[str, Any] = {"batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size}
    for name in (*names, *COMMON_ARGUMENTS):
        value = getattr(args, name)
        # Options such as the schedule are members of an enumeration.
        value = getattr(value, "value", value)
        if value is not None and value is not False and value != "":
            told[name] = value
    if not told.get("radam"):
        told["optimizer"] = getattr(args.optim, "value", args.optim)
    return told


def describe_corpus(corpus: Corpus) -> dict[str, CorpusCounts]:
    """
    What a corpus consists of, by the names of its parts, see [`Utterance`].

    Args:
        corpus ([`Corpus`]): The utterances.

    Returns:
        `dict`: for each part, the number of `utterances` and `speakers`, their `hours`, the number of utterances of
            each label as `labels`, and `speaker_digests`.
    """
    parts: dict[str, dict[str, Any]] = {}
    for utterance in corpus:
        part = parts.setdefault(utterance.corpus, {"utterances": 0, "seconds": 0.0, "labels": {}, "digests": set()})
        part["utterances"] += 1
        part["seconds"] += seconds_of(utterance.audio, utterance.name)
        part["labels"][utterance.label] = part["labels"].get(utterance.label, 0) + 1
        part["digests"].add(speaker_digest(utterance.speaker_id))
    return {
        name: {
            "speakers": len(part["digests"]),
            "utterances": part["utterances"],
            "hours": round(part["seconds"] / 3600, 3),
            "labels": dict(sorted(part["labels"].items())),
            "speaker_digests": sorted(part["digests"]),
        }
        for name, part in parts.items()
    }


def speaker_digest(speaker_id: str) -> str:
    """Tells whether two speakers are the same without naming them: 12 hexadecimal digits."""
    return hashlib.sha256(speaker_id.encode()).hexdigest()[:12]


def seconds_of(audio: bytes | Path, name: str | None = None) -> float:
    """
    Duration of an encoded clip, from its header; where that tells of none, or of more than a minute, from what is
    decoded.

    Args:
        audio (`bytes` or `Path`): The clip, or its file.
        name (`str`, *optional*): What to call it in error messages, beside its path.

    Raises:
        `ValueError`: If it cannot be read.
    """
    try:
        seconds = soundfile.info(io.BytesIO(audio) if isinstance(audio, bytes) else audio).duration
    except (soundfile.SoundFileError, RuntimeError, TypeError, OverflowError):
        seconds = math.inf
    if 0 < seconds <= TRUSTED_SECONDS:
        return seconds
    with naming(audio, name):
        return sum(len(block) / rate for block, rate in read_blocks(audio, name or "audio", math.inf))
