"""`emoicl card`: the model card of a checkpoint."""

import argparse
from pathlib import Path


EPILOG = """\
A card is made of what the folder of the checkpoint holds: its configuration, its weights, provenance.json (written
by the trainers), the report and the plot of an evaluation, and its row of a matrix. What they do not tell is left out.

  emoicl evaluate --model outputs/mine/model --corpus test.parquet --output outputs/evaluate
  emoicl card outputs/mine/model --report outputs/evaluate         puts report, plot and README.md beside the weights
  emoicl card outputs/mine/model --matrix outputs/matrix           its row of `emoicl matrix` too: other corpora
  emoicl card outputs/mine/model --output model_cards/mine.md      the card alone, somewhere else
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "card",
        help="write the model card of a checkpoint",
        epilog=EPILOG,
    )
    parser.add_argument("checkpoint", help="folder of the model, or speech or bursts")
    parser.add_argument("--report", type=Path, help="folder that `emoicl evaluate` wrote, to be kept beside the model")
    parser.add_argument("--matrix", type=Path, help="folder that `emoicl matrix` wrote, whose row of it is kept too")
    parser.add_argument("--repo-id", metavar="ORG/NAME", help="the model's name on the Hub")
    parser.add_argument("--output", type=Path, help="file to write (default: README.md beside the model)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from emoicl.bundled import find_model
    from emoicl.training.publishing.cards import CARD_NAME, checkpoint_card
    from emoicl.training.publishing.cross_corpus import save_matrix
    from emoicl.training.publishing.provenance import save_report

    checkpoint = Path(find_model(options.checkpoint))
    if options.report:
        save_report(options.report, checkpoint)
    if options.matrix:
        save_matrix(options.matrix, checkpoint)
    path = options.output or checkpoint / CARD_NAME
    card = checkpoint_card(checkpoint, options.repo_id, beside=path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(card, encoding="utf-8")
    print(f"Wrote {path}.")
