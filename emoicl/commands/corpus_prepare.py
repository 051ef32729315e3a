"""`emoicl corpus prepare`: one data set as tables, with a report and a dataset card."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from emoicl_commands.parser import check_shard


if TYPE_CHECKING:
    from emoicl.training.corpora.base import CorpusReader


EPILOG = """\
NAME is one of `emoicl corpus list`, and DIR its folder as its owners ship it, unpacked. Copies with other folders do
for many too, if the file names are the owners':

  emoicl corpus prepare ravdess --source Downloads/ravdess --output data/ravdess --workers 4

Every file that is missing, unreadable or not known is named in OUTPUT/report.txt, and nothing is written unless
--allow-missing is given. Interrupted, the same command goes on where it stopped. Then train on OUTPUT/data/*.parquet.

Several processes share the work, and so do machines that share a folder: each reads a part, and when all have ended,
the command without --num-shards and --shard goes on from there.

  accelerate launch -m emoicl_commands.cli corpus prepare iemocap --source IEMOCAP --output data/iemocap
  emoicl corpus prepare iemocap --source IEMOCAP --output data/iemocap --num-shards 4 --shard 0

NAME generic is for your own: a CSV, JSON or parquet table with the columns audio, emotion and speaker_id (or others,
named with --columns), a folder for each speaker, or a data set of the Hub and its split. Labels stay as they are, in
lower case, unless --map-labels maps them:

  emoicl corpus prepare generic --source mine.csv --output data/mine --columns emotion=mood --map-labels happy=joy
  emoicl corpus prepare generic --source recordings --pattern "{speaker_id}/{emotion}_{take}" --output data/mine
  emoicl corpus prepare generic --source someone/speech:train --columns speaker_id=who --output data/theirs
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "prepare",
        help="make tables of a data set",
        epilog=EPILOG,
    )
    parser.add_argument("name", metavar="NAME", help="which data set, or generic")
    parser.add_argument("--source", metavar="DIR", help="its folder (generic: or its table, or its Hub name)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--format", choices=["parquet", "jsonl"], default="parquet", help="default: parquet")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads that read and write (default: 1)")
    parser.add_argument("--allow-missing", action="store_true", help="write what there is, although files are missing")
    parser.add_argument("--num-shards", type=int, default=1, metavar="N", help="read only one of N parts of the clips")
    parser.add_argument("--shard", type=int, default=0, metavar="I", help="which part, from 0 (default: 0)")
    generic = parser.add_argument_group("only for generic")
    generic.add_argument("--columns", nargs="+", default=[], metavar="OURS=THEIRS", help="where columns are found")
    generic.add_argument("--map-labels", nargs="+", default=[], metavar="THEIRS=OURS", help="what labels are called")
    generic.add_argument("--pattern", help="of paths in a folder (default: {speaker_id}/{emotion}/*)")
    generic.add_argument("--corpus-name", metavar="NAME", help="default: what the source is called")
    generic.add_argument("--license", default="unknown", help="for the dataset card (default: unknown)")
    generic.add_argument("--languages", nargs="+", default=[], metavar="CODE", help="for the dataset card")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from accelerate import PartialState

    from emoicl.training.corpora.prepare import prepare, read_part
    from emoicl.training.corpora.readers import find_corpus

    if options.workers < 1:
        raise ValueError(f"--workers is at least 1, not {options.workers}.")
    check_shard(options)
    if options.name == "generic":
        reader = open_generic(options)
    else:
        reader_class = find_corpus(options.name)
        if options.source is None:
            raise ValueError(f"--source: where is {reader_class.pretty_name}? It comes from {reader_class.homepage}.")
        reader = reader_class(options.source)
    if options.num_shards > 1:
        part = (options.shard, options.num_shards)
        num_clips = read_part(reader, options.output, *part, options.format, options.workers)
        print(f"Read part {options.shard} of {options.num_shards}, {num_clips} clips: go on without --num-shards.")
        return
    report = prepare(reader, options.output, options.format, options.workers, options.allow_missing)
    if not PartialState().is_main_process:
        return
    print(report.text(with_names=False))
    print(f"Wrote {options.output}/data/*.{options.format}, README.md (card), report.json and report.txt (names).")


def open_generic(options: argparse.Namespace) -> "CorpusReader":
    """The reader of a table, a folder or a data set of the Hub."""
    from emoicl.training.corpora.generic import FOLDER_PATTERN, HubDataset, OwnTable, SpeakerFolders
    from emoicl.training.data.table_sources import is_hub_name, load_from_hub

    source = options.source
    if source is None:
        raise ValueError("--source: where is it? A table, a folder, or a data set of the Hub (user/name:split).")
    is_on_hub = is_hub_name(source)
    path = Path(source.partition(":")[0] if is_on_hub else source)
    fields = {
        "name": options.corpus_name or (path.name if is_on_hub else path.stem).lower(),
        "labels": parse_pairs("--map-labels", options.map_labels),
        "license": options.license,
        "languages": options.languages,
    }
    columns = parse_pairs("--columns", options.columns)
    if is_on_hub:
        return HubDataset(load_from_hub(source), columns=columns, **fields)
    if path.is_dir():
        return SpeakerFolders(path, pattern=options.pattern or FOLDER_PATTERN, **fields)
    return OwnTable(path, columns=columns, **fields)


def parse_pairs(option: str, pairs: list[str]) -> dict[str, str]:
    """Reads `a=b` pairs."""
    if wrong := [pair for pair in pairs if not all(pair.partition("="))]:
        raise ValueError(f"{option} takes pairs such as a=b, not {', '.join(map(repr, wrong))}.")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
