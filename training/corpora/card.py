"""The dataset card of a prepared corpus."""

from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from emoicl.training.corpora.base import PAPER_LABELS, CorpusReader
from emoicl.training.corpora.report import Report


TEMPLATE = Path(__file__).parent / "dataset_card.md"
# The Hub's own identifiers of the licences that corpora come with; others are stated by name and address.
HUB_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-NC-ND-4.0": "cc-by-nc-nd-4.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "ODbL-1.0": "odbl",
    "unknown": "unknown",
}
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def dataset_card(reader: CorpusReader, report: Report, format: str) -> str:
    """
    The text of `README.md`: the Hub's metadata, then what the corpus is, its labels, licence, citation and uses.

    Args:
        reader ([`CorpusReader`]): The corpus.
        report ([`Report`]): What was prepared of it.
        format (`str`): `"parquet"` or `"jsonl"`.

    Returns:
        `str`: Markdown.
    """
    licence: dict[str, Any] = {"license": HUB_LICENCES.get(reader.licence, "other")}
    if licence["license"] == "other":
        licence |= {"license_name": reader.licence, "license_link": reader.licence_url}
    data = DatasetCardData(
        **licence,
        language=list(reader.languages) or None,
        pretty_name=reader.pretty_name,
        task_categories=["audio-classification"],
        size_categories=[next(name for size, name in SIZES.items() if report.num_prepared < size)],
        tags=["speech-emotion-recognition", "emoicl"],
        configs=[{"config_name": "default", "data_files": f"data/*.{format}"}],
    )
    card = DatasetCard.from_template(
        data, template_path=str(TEMPLATE), reader=reader, report=report, format=format, paper_labels=PAPER_LABELS
    )
    return str(card).rstrip("\n") + "\n"
