"""Model cards: all that is stored with a checkpoint, as a page for the people who use it."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from huggingface_hub import EvalResult, ModelCardData
from markupsafe import Markup

from emoicl.training.corpora.base import CorpusReader
from emoicl.training.corpora.licenses import STRICTNESS, hub_license, strictest
from emoicl.training.corpora.markdown import load_template, plain
from emoicl.training.corpora.readers import CORPORA
from emoicl.training.data.utterances import corpus_of
from emoicl.training.publishing.checkpoint import describe_parts, describe_storage, label_words, read_config
from emoicl.training.publishing.cross_corpus import describe_matrix
from emoicl.training.publishing.provenance import (
    PLOT_NAME,
    PROVENANCE_NAME,
    REMARKS,
    REPORT_NAME,
    Provenance,
    Report,
    Stage,
    read_report,
    with_digests,
)


CARD_NAME = "README.md"
# Installed, the folder of cards lies beside that of training too.
TEMPLATE = Path(__file__).parents[2] / "model_cards" / "template.md"
TAGS = ("emoicl", "speech-emotion-recognition", "in-context-learning", "personalization")
CONTROLS = {
    None: "",
    "rotated": ", labels rotated",
    "other_speaker": ", another speaker's enrollment",
    "unlabeled": ", without labels",
}


def save_card(checkpoint: str | Path, repo_id: str | None = None) -> Path:
    """Writes the card of a checkpoint into its folder, as the `README.md` that the Hub shows.

    Args:
        checkpoint (`str` or `Path`): Folder of the checkpoint.
        repo_id (`str`, *optional*): Hub name that it will have.

    Returns:
        `Path`: The file.
    """
    path = Path(checkpoint) / CARD_NAME
    path.write_text(checkpoint_card(checkpoint, repo_id), encoding="utf-8")
    return path


def checkpoint_card(checkpoint: str | Path, repo_id: str | None = None, beside: str | Path | None = None) -> str:
    """
    The card of a speech language model or a classifier, from what its folder holds: the configuration, the headers of
    the weights and, as far as they are there, `provenance.json` (how it was trained), `report.json` (of `emoicl
    evaluate`), the plot `accuracy_against_shots.png` and `matrix.json` (of `emoicl matrix`). What they do not tell is
    left out.

    Args:
        checkpoint (`str` or `Path`): Folder of the checkpoint.
        repo_id (`str`, *optional*): Hub name such as `"org/name"`, by default the folder's own.
        beside (`str` or `Path`, *optional*): Folder in which the card will stand, by default the checkpoint's.

    Returns:
        `str`: Markdown, headed by the Hub's metadata.

    Raises:
        `ValueError`: If the folder holds no model of this package.
    """
    checkpoint = Path(checkpoint)
    config = read_config(checkpoint)
    provenance = read_provenance(checkpoint)
    report = checkpoint / REPORT_NAME
    results = describe_results(read_report(report), provenance) if report.is_file() else None
    remarks = provenance.remarks
    name = (repo_id or "").rpartition("/")[2] or remarks.get("name") or checkpoint.resolve().name
    labels = label_words(config, checkpoint)
    training = corpora_of(provenance, "training")
    readers = [CORPORA[corpus] for corpus in training if corpus in CORPORA]
    licenses = weights_licenses(provenance)
    base_models = remarks.get("base_models", provenance.base_models)
    metadata = hub_metadata(name, labels, readers, licenses, base_models, results)
    plot = checkpoint / PLOT_NAME
    stages = provenance.stages
    page = load_template(TEMPLATE).render(
        name=name,
        remarks=dict.fromkeys(REMARKS) | remarks,
        labels=labels,
        model_id=repo_id or checkpoint.resolve().name,
        # What is made for the Hub has the code beside the weights.
        carries_code=repo_id is not None or hasattr(config, "custom_pipelines"),
        is_speech_lm=config.model_type == "emoicl",
        is_encoder_decoder=config.model_type == "emoicl" and config.text_config.is_encoder_decoder,
        enrolled=labels if config.model_type == "emoicl" else config.enrollment_labels or [],
        parts=describe_parts(config, checkpoint),
        storage=describe_storage(checkpoint),
        base_models=base_models,
        is_complete=provenance.is_complete,
        data=describe_data(provenance),
        stages=stages,
        stage_names=[stage["name"] for stage in stages],
        arguments=table_of_arguments(stages),
        versions=[f"{package} {version}" for package, version in stages[-1]["versions"].items()] if stages else [],
        seeds=list(dict.fromkeys(str(stage["arguments"]["seed"]) for stage in stages if "seed" in stage["arguments"])),
        results=results,
        matrix=describe_matrix(checkpoint),
        is_blended=getattr(config, "adaptation_config", None) is not None,
        plot=quote(Path(os.path.relpath(plot, beside or checkpoint)).as_posix()) if plot.is_file() else "",
        readers=readers,
        licenses=[linked(license) for license in licenses],
        terms=[f"{reader.pretty_name}: {reader.license}" for reader in readers],
        unlicensed=[title(corpus) for corpus in training if license_of(corpus) not in STRICTNESS],
    )
    # What is left out leaves its blank lines behind.
    page = re.sub(r"\n{3,}", "\n\n", page)
    return f"---\n{metadata.to_yaml()}\n---\n{page}"


def hub_metadata(
    name: str,
    labels: list[str],
    readers: Sequence[type[CorpusReader]],
    licenses: Sequence[str],
    base_models: list[str],
    results: Mapping[str, Any] | None,
) -> ModelCardData:
    """What heads a card: the model as the Hub lists and finds it."""
    measured = results if results and results["corpora"] else None
    return ModelCardData(
        language=sorted({language for reader in readers for language in reader.languages}) or None,
        **cast(dict[str, Any], hub_license(licenses, license_url(licenses))),
        library_name="transformers",
        pipeline_tag="audio-classification",
        base_model=base_models[0] if len(base_models) == 1 else base_models or None,
        tags=list(TAGS),
        labels=labels,
        model_name=name if measured else None,
        eval_results=evaluation_results(measured) if measured else None,
    )


def read_provenance(checkpoint: Path) -> Provenance:
    """What the folder of a checkpoint tells of its training, which may be nothing."""
    path = checkpoint / PROVENANCE_NAME
    return Provenance.load(path) if path.is_file() else Provenance()


def title(corpus: str) -> str:
    """A corpus as it is called in text; `""` is one whose speakers have no corpus in their name."""
    return CORPORA[corpus].pretty_name if corpus in CORPORA else corpus or "a corpus without a name"


def corpora_of(provenance: Provenance, part: str) -> list[str]:
    """Names of the corpora of `"training"` or `"validation"`, over all stages."""
    return list(dict.fromkeys(corpus for stage in provenance.stages for corpus in stage["data"].get(part, {})))


def license_of(corpus: str) -> str:
    return CORPORA[corpus].license if corpus in CORPORA else "unknown"


def license_url(licenses: Sequence[str]) -> str:
    """Where a license is written; empty for several."""
    urls = [reader.license_url for reader in CORPORA.values() if [reader.license] == list(licenses)]
    # Of owners with the same public license, any address will do.
    return urls[0] if urls else ""


def linked(license: str) -> str:
    """The name of a license, with a link to it where it is written somewhere."""
    url = license_url([license])
    return Markup(f"[{plain(license)}]({url})") if url else license


def weights_licenses(provenance: Provenance) -> list[str]:
    """The strictest license of all corpora trained on; empty where one is not known. See [`strictest`]."""
    return (
        strictest([license_of(corpus) for corpus in corpora_of(provenance, "training")])
        if provenance.is_complete
        else []
    )


def describe_data(provenance: Provenance) -> list[dict[str, Any]]:
    """A row for each corpus and what it was for; the stages that share it are named once."""
    rows: dict[tuple, dict[str, Any]] = {}
    for stage in provenance.stages:
        for part, corpora in stage["data"].items():
            for corpus, counts in corpora.items():
                key = (part, corpus, counts["speakers"], counts["utterances"])
                row = rows.setdefault(key, {"part": part, "title": title(corpus), **counts, "stages": []})
                row["stages"].append(stage["name"])
    return list(rows.values())


def table_of_arguments(stages: Sequence[Stage]) -> list[tuple[str, list[str]]]:
    """Each training argument with its value in every stage."""
    names = dict.fromkeys(name for stage in stages for name in stage["arguments"])
    return [(name, [str(stage["arguments"].get(name, "-")) for stage in stages]) for name in names]


def describe_results(content: Report, provenance: Provenance) -> dict[str, Any]:
    """
    What a card tells of an evaluation.

    Args:
        content (`Report`): Content of `report.json`.
        provenance ([`Provenance`]): Tells whether the model had heard the speakers.

    Returns:
        `dict`: `rows` (one for each condition), `fewest` and `most` (rows of the smallest and the largest number of
            shots), `controls`, `unlabeled` (the row without labels, if there is one), `better` and `worse` (speakers
            who gain and lose by the most shots), `heard` (speakers that were trained on), and what the report is on.
    """
    report = with_digests(content)
    rows = [row | {"title": f"{row['shots']}{CONTROLS[row['control']]}"} for row in report["rows"]]
    own = [row for row in rows if row["control"] is None]
    fewest, most = (choose(own, key=lambda row: row["shots"]) for choose in (min, max))
    at_most = [row for row in rows if row["shots"] == most["shots"]]
    speakers = list(most["per_speaker"])
    gains = [most["per_speaker"][speaker] - fewest["per_speaker"][speaker] for speaker in speakers]
    return {
        "setting": report["setting"],
        "num_draws": len(report["seeds"]),
        "num_utterances": report["num_utterances"],
        "num_speakers": len(speakers),
        "corpora": list(dict.fromkeys(corpus for speaker in speakers if (corpus := corpus_of(speaker)))),
        "titles": [title(corpus) for corpus in dict.fromkeys(corpus_of(speaker) for speaker in speakers)],
        "rows": rows,
        "has_ece": all("ece" in row for row in rows),
        "fewest": fewest,
        "most": most,
        "controls": [row for row in at_most if row["control"] not in (None, "unlabeled")],
        "unlabeled": next((row for row in at_most if row["control"] == "unlabeled"), None),
        "better": sum(gain > 0 for gain in gains),
        "worse": sum(gain < 0 for gain in gains),
        "heard": len(provenance.heard() & {speaker.rpartition("/")[2] for speaker in speakers}),
        "tells_heard": bool(provenance.stages) and provenance.is_complete,
    }


def evaluation_results(results: Mapping[str, Any]) -> list[EvalResult]:
    """The results without a control, as the Hub's `model-index` has them."""
    return [
        EvalResult(
            task_type="audio-classification",
            task_name="personalized speech emotion recognition",
            dataset_type="-".join(results["corpora"]),
            dataset_name=", ".join(results["titles"]),
            metric_type="accuracy",
            metric_name=f"UA_spk, {row['shots']}-shot",
            metric_value=round(row["ua_spk"], 4),
            metric_args={"setting": results["setting"], "shots": row["shots"], "draws": results["num_draws"]},
        )
        for row in results["rows"]
        if row["control"] is None
    ]
