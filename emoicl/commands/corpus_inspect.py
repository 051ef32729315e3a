"""`emoicl corpus inspect`: what is in tables, and what is wrong with it, before a model is trained on it."""

import argparse
from pathlib import Path


EPILOG = """\
A TABLE is parquet, JSONL or CSV with the columns audio, emotion and speaker_id; corpus, source_id, sentence_id and
text are used if they are there, or a data set of the Hub with such columns and its split, as user/name:test. A FOLDER
is a prepared corpus, or holds tables.

  emoicl corpus inspect data/ravdess                       print what is found
  emoicl corpus inspect data/ravdess --output inspection   and write it, complete, with plots
  emoicl corpus inspect train.parquet test.parquet         also tells of copies that are in both

Every clip is listened to. What the words mean:

  unusable        cannot be read, is damaged, or is no utterance (shorter than 0.1 s, longer than 30 s)
  silent          its peak is below -60 dBFS
  clipped         at least 3 samples in a row, as they are stored, are at full scale (0.9999 or more)
  byte-identical  the same file
  near-identical  the same recording: encoded again, louder or softer, or a fifth of it cut off
  missing cell    a speaker has no clip of an emotion that others of the corpus have
  gives away      the sentence tells at least 5 % of the emotion beyond what it would by chance (p < 0.01): a model can
                  then read the words in place of hearing the voice

Enrollment is the largest k for which every utterance of a speaker can be given k shots, in the nine settings.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "inspect",
        help="find what is wrong with tables",
        epilog=EPILOG,
    )
    parser.add_argument("tables", nargs="+", metavar="TABLE_OR_FOLDER", help="finished tables")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for report.md, report.json and plots")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that decode (default: 1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from emoicl.training.corpora.inspection import inspect_tables
    from emoicl.training.corpora.inspection_report import check_folder, report_text, save_report

    if options.workers < 1:
        raise ValueError(f"--workers is at least 1, not {options.workers}.")
    if options.output:
        check_folder(options.output)
    inspection = inspect_tables(options.tables, options.workers)
    print(report_text(inspection, brief=True))
    if options.output:
        files = save_report(inspection, options.output)
        print(f"Wrote {', '.join(path.name for path in files)} to {options.output}.")
