"""`emoicl app`: the page on this machine, or the folder of a Hugging Face Space that shows it."""

import argparse
from pathlib import Path

from emoicl_commands.parser import ABOUT_MODELS, add_model_argument, chosen_model


EPILOG = """\
Record or upload a few labeled utterances of a person, and see how the answers about another utterance of theirs
change. It needs Gradio: pip install "emoicl[app]".

  emoicl app                                  the model `speech`, and bundled speakers to try it with
  emoicl app --model my-model --port 8000     your own model
  emoicl app --space my-space                 write the folder of a Hugging Face Space, ready to push

Nothing leaves this machine, and nobody else can open the page unless --host says so. (Browsers give the microphone to
pages of their own machine and to https alone.) Enroll a person only with their consent; inferring emotions at work or
in education is forbidden in the EU (AI Act, Article 5(1)(f)).
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "app",
        help="open a page to enroll a speaker and recognize their emotions",
        description=ABOUT_MODELS,
        epilog=EPILOG,
    )
    add_model_argument(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, help="port to listen at (default: the first free one from 7860)")
    parser.add_argument("--space", type=Path, metavar="DIR", help="write the folder of a Space, and open no page")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    try:
        from emoicl.app import serve
        from emoicl.app.space import write_space
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError('The page needs Gradio, which is missing: pip install "emoicl[app]"') from error
    model = chosen_model(options)
    if options.space:
        for path in write_space(options.space, model):
            print(f"Wrote {path}")
    else:
        serve(model, options.host, options.port)
