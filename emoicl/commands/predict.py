"""`emoicl predict`: labels of audio files, with or without an enrollment."""

import argparse
import csv
import json
from pathlib import Path

from emoicl.commands.model import add_model_argument, check_decoding, load_pipeline


EPILOG = """\
The enrollment is a CSV file with the columns audio (a path, relative to the file) and label:

  audio,label
  calm.wav,Neutral
  birthday.wav,Joy

Without --enroll, the answer is zero-shot. Enroll a person only with their consent.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "predict",
        help="classify audio files",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("audio", nargs="+", help="audio files (wav, flac, ogg, opus, mp3) of one person")
    parser.add_argument("--enroll", type=Path, metavar="CSV", help="labelled utterances of that person")
    add_model_argument(parser)
    parser.add_argument("--top-k", type=int, help="print only the most probable labels")
    parser.add_argument("--decoding", choices=["labels", "beam"], default="labels", help="default: labels")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    recognizer = load_pipeline(options.model)
    enrollment = read_enrollment(options.enroll) if options.enroll else None
    check_decoding(options.model, recognizer, options.decoding)
    beam = {"decoding": "beam"} if options.decoding == "beam" else {}
    for audio in options.audio:
        answers = recognizer(audio, enrollment=enrollment, top_k=options.top_k, **beam)
        print(json.dumps({"audio": audio, "labels": answers}))


def read_enrollment(path: Path) -> list[dict[str, str | Path]]:
    """Reads a CSV file with the columns `audio`, relative to its folder, and `label`."""
    # Spreadsheets put a byte-order mark first.
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"audio", "label"} <= rows[0].keys():
        raise ValueError(f"{path}: an enrollment has the columns audio and label, and at least one row.")
    if incomplete := [str(number) for number, row in enumerate(rows, start=1) if not (row["audio"] and row["label"])]:
        raise ValueError(f"{path}: no audio or no label in row {', '.join(incomplete)}.")
    return [{"audio": path.parent / row["audio"], "label": row["label"]} for row in rows]
