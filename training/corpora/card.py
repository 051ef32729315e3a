"""Dataset cards: of a corpus as its owners ship it, and of what was prepared of it.

python -m emoicl.training.corpora.card model_cards/datasets
"""

import argparse
import re
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData

from emoicl.training.corpora.base import PAPER_LABELS, CorpusReader
from emoicl.training.corpora.licenses import hub_license
from emoicl.training.corpora.markdown import load_template
from emoicl.training.corpora.readers import CORPORA
from emoicl.training.corpora.report import Report


TEMPLATE = Path(__file__).parent / "dataset_card.md"
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10**7: "1M<n<10M"}


def reader_card(reader: type[CorpusReader]) -> str:
    """
    The card of a corpus as its owners ship it: what it is, what its labels mean, under which license, and how it is
    prepared.

    Args:
        reader (`type[CorpusReader]`): The corpus.

    Returns:
        `str`: Markdown, headed by the Hub's metadata.
    """
    return _render(reader, {}, report=None)


def dataset_card(reader: CorpusReader, report: Report, format: str) -> str:
    """
    The text of `README.md`: the Hub's metadata, then what the corpus is, its labels, license, citation and uses.

    Args:
        reader ([`CorpusReader`]): The corpus.
        report ([`Report`]): What was prepared of it.
        format (`str`): `"parquet"` or `"jsonl"`.

    Returns:
        `str`: Markdown.
    """
    metadata = {
        "size_categories": [next(name for size, name in SIZES.items() if report.num_prepared < size)],
        "configs": [{"config_name": "default", "data_files": f"data/*.{format}"}],
    }
    return _render(reader, metadata, report=report, format=format)


def _render(reader: CorpusReader | type[CorpusReader], metadata: dict[str, Any], **fields: Any) -> str:
    data = DatasetCardData(
        **hub_license([reader.license], reader.license_url),
        language=list(reader.languages) or None,
        pretty_name=reader.pretty_name,
        task_categories=["audio-classification"],
        tags=["speech-emotion-recognition", "emoicl"],
        **metadata,
    )
    page = load_template(TEMPLATE, trim=False).render(reader=reader, paper_labels=PAPER_LABELS, **fields)
    # What is left out leaves its blank lines behind.
    page = re.sub(r"\n{3,}", "\n\n", page).rstrip("\n")
    return f"---\n{data.to_yaml()}\n---\n{page}\n"


def save_reader_cards(folder: str | Path) -> list[Path]:
    """Writes the card of every corpus that is known.

    Args:
        folder (`str` or `Path`): Where to.

    Returns:
        `list[Path]`: The files, named after the corpora.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, reader in CORPORA.items():
        paths.append(folder / f"{name}.md")
        paths[-1].write_text(reader_card(reader), encoding="utf-8")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the cards go, one for each corpus")
    folder = parser.parse_args().folder
    print(f"Wrote {len(save_reader_cards(folder))} cards into {folder}.")


if __name__ == "__main__":
    main()
