"""`emoicl corpus split`: tables that share no speaker, to train, to choose and to measure on."""

import argparse
from pathlib import Path


EPILOG = """\
Prepared corpora, folders of tables, tables, and data sets of the Hub (user/name:split) are split together:

  emoicl corpus split data/ravdess data/crema-d --output data/acted
  emoicl reproduce --corpus data/acted --output outputs/acted
  emoicl evaluate --corpus data/acted/test.parquet

A tenth of the speakers validates and a tenth tests, drawn so that every part has its share of each corpus, gender and
age group. What came out is printed as in Table I of the paper. Or each speaker is tested once, in fold_0, fold_1, ...
(each fold is a copy of all clips):

  emoicl corpus split data/ravdess --output folds --folds 6
  emoicl corpus split data/emodb --output folds --leave-one-speaker-out --validation 0.2

Or the parts are given: a CSV file with the columns speaker_id and split (train, validation or test), a JSON file
{"train": ["01", ...], "validation": [...], "test": [...]}, or the split.json of another split:

  emoicl corpus split data/ravdess --output official --speakers official.csv

Where all speakers say the same sentences, a model may know the words rather than the emotion. --sentence-disjoint
leaves out the clips that it must so that no sentence of training is in validation or test, and says how many.

Nothing is written if a speaker is in two parts, if byte-identical clips are in different parts, if speakers are too
few, or if a list and the corpus name different speakers.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "split",
        help="divide a corpus by speakers",
        epilog=EPILOG,
    )
    parser.add_argument("corpora", nargs="+", metavar="TABLE_OR_FOLDER", help="what to split, together")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write, new or empty")
    parser.add_argument("--validation", type=float, metavar="SHARE", help="of the speakers (default: 0.1)")
    parser.add_argument("--test", type=float, metavar="SHARE", help="of the speakers (default: 0.1)")
    scheme = parser.add_mutually_exclusive_group()
    scheme.add_argument("--folds", type=int, metavar="K", help="K folds, in which each speaker is tested once")
    scheme.add_argument("--leave-one-speaker-out", action="store_true", help="one fold for each speaker")
    scheme.add_argument("--speakers", type=Path, metavar="FILE", help="given parts: .csv, .tsv or .json")
    parser.add_argument(
        "--stratify",
        nargs="*",
        metavar="COLUMN",
        help="columns to spread evenly, the most important first (default: gender age)",
    )
    parser.add_argument("--sentence-disjoint", action="store_true", help="no sentence of training in the other parts")
    parser.add_argument(
        "--allow-missing", action="store_true", help="with --speakers: leave out who is only in the list or the corpus"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from emoicl.training.corpora.splits import split_corpus

    shares = {name: value for name in ("validation", "test") if (value := getattr(options, name)) is not None}
    if options.speakers and shares:
        raise ValueError(f"--speakers gives the parts: it does not go with --{' or --'.join(shares)}.")
    if options.allow_missing and not options.speakers:
        raise ValueError("--allow-missing is for --speakers: without a list, nobody is missing.")
    num_folds = "speakers" if options.leave_one_speaker_out else options.folds
    if num_folds and "test" in shares:
        raise ValueError("In folds each speaker is tested once: --test is for a single split.")
    reports = split_corpus(
        options.corpora,
        options.output,
        num_folds=num_folds,
        speaker_lists=options.speakers,
        stratify=options.stratify,
        sentence_disjoint=options.sentence_disjoint,
        allow_missing=options.allow_missing,
        seed=options.seed,
        **shares,
    )
    if num_folds is None:
        print(reports[0].text())
    for report in reports if num_folds else []:
        print(f"{report.name}: {report.summary()}")
    files = ", ".join([*(f"{part}.parquet" for part, names in reports[0].speakers.items() if names), "split.json"])
    where = f"{options.output}/fold_0 to fold_{len(reports) - 1}" if num_folds else f"{options.output}"
    print(f"Wrote {files} and split.txt in {where}.")
