"""Results as the Hub's leaderboards read them: `.eval_results/*.yaml`, beside the `model-index` of the card."""

from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from emoicl.training.corpora.readers import CORPORA
from emoicl.training.data.utterances import corpus_of
from emoicl.training.publishing.provenance import REPORT_NAME, read_report


FOLDER = ".eval_results"
# Of ours alone: others may add files of other benchmarks.
PATTERN = "emoicl-*.yaml"


def save_eval_results(checkpoint: str | Path) -> list[Path]:
    """
    Writes the results of a checkpoint's report, as far as they are on corpora that are data sets of the Hub. A file
    has one number of shots, as a leaderboard has a row for each way to run a model.

    Args:
        checkpoint (`str` or `Path`): Folder of the checkpoint, which may have a `report.json`.

    Returns:
        `list[Path]`: The files.
    """
    folder, report = Path(checkpoint) / FOLDER, Path(checkpoint) / REPORT_NAME
    for older in folder.glob(PATTERN):
        older.unlink()
    if not report.is_file():
        return []
    content, written = read_report(report), []
    for row in content["rows"]:
        accuracies: dict[str, list[float]] = {}
        for speaker, accuracy in row["per_speaker"].items():
            accuracies.setdefault(corpus_of(speaker), []).append(accuracy)
        for corpus, of_speakers in accuracies.items():
            reader = CORPORA.get(corpus)
            if row["control"] is not None or reader is None or not reader.hub_id:
                continue
            shots = f"{row['shots']} enrolled utterances" if row["shots"] != 1 else "1 enrolled utterance"
            entry = EvalResultEntry(
                dataset_id=reader.hub_id,
                task_id="default",
                value=round(sum(of_speakers) / len(of_speakers), 4),
                notes=f"Accuracy, mean over {len(of_speakers)} speakers (UA_spk), {shots} of the speaker",
            )
            path = folder / f"emoicl-{corpus}-{row['shots']}-shot.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False), encoding="utf-8")
            written.append(path)
    return written
