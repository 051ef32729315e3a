"""`emoicl pretrain`: a language model or a speech encoder from scratch, as the paper's were."""

import argparse
from dataclasses import replace


EPILOG = """\
What is pretrained is taken up by `emoicl init`:

  emoicl pretrain language-model --text corpus/train.parquet sentences.txt --output outputs/lm
  emoicl pretrain speech-encoder --corpus corpus/train.parquet --output outputs/encoder
  emoicl init --speech-encoder outputs/encoder/model --language-model outputs/lm/model --output outputs/composed

Interrupted, the same command goes on at the last checkpoint. Under `accelerate launch -m emoicl_commands.cli`, each
process takes a batch of a step. `emoicl pretrain language-model --help` tells more.
"""

LANGUAGE_MODEL_EPILOG = """\
First the tokenizer is trained, then the model learns to denoise the texts (UL2), then to follow instructions if
there are any:

  emoicl pretrain language-model --text corpus/train.parquet --instructions corpus/train.parquet --output outputs/lm

--text takes tables (.parquet, .jsonl, .csv, .tsv, .json) with a column text; in a file of any other name, each line is
a text.
--instructions takes tables with the columns instruction, input and output. Of any other table, instructions are made
of its columns text, emotion, gender, language and age; none of them goes from a sentence to an emotion.

Sizes: tiny (3 + 1 layers, 192 wide; minutes on a laptop), base (6 + 2, 512), paper (32 + 6, 1024; vocabulary 37,156).
"""

SPEECH_ENCODER_EPILOG = """\
The encoder is trained on several tasks at once, of which those take part that the corpora have a column for:

  transcription  text         CTC over characters
  speaker        speaker_id   which of the training speakers
  gender         gender
  emotion        emotion
  age            age          in years

  emoicl pretrain speech-encoder --corpus a/train.parquet b/train.parquet --tasks transcription gender --output outputs

Give the training speakers only: whoever the encoder has heard is no unseen speaker any more. A column may be absent
from a corpus, or empty in some rows.

Sizes: tiny (3 layers, 128 wide; minutes on a laptop), base (4, 256) and paper (6, 512).
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "pretrain",
        help="pretrain a language model or a speech encoder from scratch",
        epilog=EPILOG,
    )
    parser.set_defaults(run=lambda options: parser.print_help())
    parts = parser.add_subparsers(metavar="PART")
    add_language_model_parser(parts)
    add_speech_encoder_parser(parts)


def add_language_model_parser(parts: argparse._SubParsersAction) -> None:
    parser = parts.add_parser(
        "language-model",
        help="UL2's denoising of text, then instruction tuning",
        epilog=LANGUAGE_MODEL_EPILOG,
    )
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE", help="tables or text files to denoise")
    parser.add_argument("--instructions", nargs="+", default=[], metavar="FILE", help="tables for instruction tuning")
    parser.add_argument("--instruction-steps", type=int, metavar="N", help="steps of instruction tuning")
    add_shared_arguments(parser, steps="steps of denoising")
    parser.set_defaults(run=run_language_model)


def add_speech_encoder_parser(parts: argparse._SubParsersAction) -> None:
    parser = parts.add_parser(
        "speech-encoder",
        help="the paper's speech encoder, on several tasks at once",
        epilog=SPEECH_ENCODER_EPILOG,
    )
    parser.add_argument(
        "--corpus",
        nargs="+",
        required=True,
        metavar="TABLE",
        help="tables of the training speakers, or user/name:split",
    )
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="tasks to train on (default: all)")
    parser.add_argument(
        "--task-weights",
        nargs="+",
        default=[],
        metavar="TASK=X",
        help="weights of tasks in the sum of losses (default: 1)",
    )
    add_shared_arguments(parser, steps="steps")
    parser.set_defaults(run=run_speech_encoder)


def add_shared_arguments(parser: argparse.ArgumentParser, steps: str) -> None:
    parser.add_argument("--output", required=True, metavar="DIR", help="where checkpoints and the model go")
    parser.add_argument("--size", choices=("tiny", "base", "paper"), default="tiny", help="default: tiny")
    parser.add_argument("--max-steps", type=int, metavar="N", help=f"{steps} (default: that of the size)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="items in a step (default: that of the size)")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="default: that of the size")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of weights and draws (default: 0)")


def run_language_model(options: argparse.Namespace) -> None:
    from emoicl.training.pretraining.language_model import (
        LANGUAGE_MODEL_SIZES,
        LanguageModelPretraining,
        pretrain_language_model,
    )

    if options.instruction_steps is not None and not options.instructions:
        raise ValueError("--instruction-steps has no meaning without --instructions.")
    size = LANGUAGE_MODEL_SIZES[options.size]
    size = replace(
        size,
        denoising=changed(size.denoising, options, options.max_steps),
        instruction=changed(size.instruction, options, options.instruction_steps),
    )
    model = pretrain_language_model(
        LanguageModelPretraining(options.text, options.output, options.instructions, size, options.seed)
    )
    report(options.output, model.num_parameters(), f"a vocabulary of {model.config.vocab_size}", "--language-model")


def run_speech_encoder(options: argparse.Namespace) -> None:
    from emoicl.training.pretraining.speech_data import TASKS
    from emoicl.training.pretraining.speech_tasks import (
        SPEECH_ENCODER_SIZES,
        SpeechEncoderPretraining,
        pretrain_speech_encoder,
    )

    size = SPEECH_ENCODER_SIZES[options.size]
    encoder = pretrain_speech_encoder(
        SpeechEncoderPretraining(
            options.corpus,
            options.output,
            tasks=options.tasks or list(TASKS),
            task_weights=parse_weights(options.task_weights),
            size=replace(size, schedule=changed(size.schedule, options, options.max_steps)),
            seed=options.seed,
        )
    )
    report(options.output, encoder.num_parameters(), "one vector every 40 ms", "--speech-encoder")


def changed(schedule, options: argparse.Namespace, max_steps: int | None):
    """The schedule of a size with what the command line says instead."""
    given = {"max_steps": max_steps, "batch_size": options.batch_size, "learning_rate": options.learning_rate}
    for name, value in given.items():
        if value is not None and value <= 0:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it should be above 0.")
    return replace(schedule, **{name: value for name, value in given.items() if value is not None})


def parse_weights(pairs: list[str]) -> dict[str, float]:
    """Reads pairs such as `speaker=0.5`."""
    weights = {}
    for item in pairs:
        task, _, weight = item.partition("=")
        try:
            weights[task] = float(weight)
        except ValueError:
            raise ValueError(f"--task-weights: {item!r} is no TASK=NUMBER.") from None
    return weights


def report(output: str, num_parameters: int, what: str, option: str) -> None:
    from accelerate import PartialState

    if not PartialState().is_main_process:
        return
    print(f"{num_parameters / 1e6:.1f} M parameters, {what}.")
    print(f"Wrote {output}/model (for `emoicl init {option} {output}/model`), beside checkpoints and logs.")
