"""`emoicl export`: a checkpoint as a folder for the Hub, checked and, if asked for, published."""

import argparse
from pathlib import Path


EPILOG = """\
The folder holds the weights, the configurations, the code and the model card. It loads where emoicl is not installed:

  from transformers import pipeline
  recognizer = pipeline("audio-classification", "org/name", trust_remote_code=True)
  recognizer("hello.wav", enrollment=[{"audio": "calm.wav", "label": "Neutral"}])

Before it is written, a process without emoicl loads it with the network off and must answer as the checkpoint does.

  emoicl export outputs/base-emogator/model --output my-model
  emoicl export outputs/base-emogator/model --output my-model --dtype float16 --push-to-hub org/name --private

Half the size is nearly always enough: --dtype float16 rounds the weights that are stored; computing stays in float32.
Publishing takes a token of the Hub that may write: log in with `hf auth login`. Should it fail, the folder is there
all the same: `hf upload org/name my-model` publishes it later.
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="make a folder for the Hub, check it, publish it",
        epilog=EPILOG,
    )
    parser.add_argument("checkpoint", help="folder of a speech language model or a classifier, or speech or bursts")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write, absent or empty")
    parser.add_argument("--push-to-hub", metavar="ORG/NAME", help="Hub repository to publish it in")
    parser.add_argument("--private", action="store_true", help="make the repository a private one")
    parser.add_argument(
        "--dtype", choices=["float16", "float32"], help="precision of the stored weights (default: as they are)"
    )
    parser.add_argument(
        "--max-shard-size", default="5GB", metavar="SIZE", help="largest file of weights, as 500MB (default: 5GB)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from emoicl.bundled import find_model
    from emoicl.training.publishing.export import export

    if options.private and not options.push_to_hub:
        raise ValueError("--private is of a Hub repository: name it with --push-to-hub ORG/NAME.")
    export(
        find_model(options.checkpoint),
        options.output,
        push_to_hub=options.push_to_hub,
        private=options.private,
        dtype=options.dtype,
        max_shard_size=options.max_shard_size,
    )
    print(f"Wrote {options.output}. It loads without emoicl, and answers as {options.checkpoint} does.")
    for path in sorted(options.output.iterdir()):
        print(f"  {path.name:<36}{path.stat().st_size:>14,} bytes")
    if options.push_to_hub:
        print(f"Published it as {options.push_to_hub}.")
