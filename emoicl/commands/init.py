"""`emoicl init`: a model from a speech encoder and a language model by name."""

import argparse
import json
import shlex
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from torch import nn

    from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
    from emoicl.processing.processing_emoicl import EmoIclProcessor


EPILOG = """\
Both parts are named by their Hub name or by a folder:

  speech encoders   Whisper, wav2vec 2.0, HuBERT, WavLM, wav2vec2-BERT; the encoder of the paper
  language models   encoder-decoders: T5, Flan-T5, mT5, UMT5, BART, mBART, T5Gemma
                    decoder-only: Llama, SmolLM2, Qwen2 and 3, Gemma 3, Mistral, and others with attention alone

  emoicl init --speech-encoder openai/whisper-small --language-model google/flan-t5-base --output my-model
  emoicl init --speech-encoder microsoft/wavlm-base-plus --speech-layer 9 --language-model google/mt5-small \\
      --labels Freude Trauer Wut --adaptation-size 64 --output my-model
  emoicl init --speech-encoder openai/whisper-base --language-model Qwen/Qwen3-0.6B --output my-model

A middle layer of the speech encoder often hears more emotion than the last one, and what lies above it is left away.
More query tokens keep more of an utterance and make prompts longer: a prompt has as many for each utterance. Without
--language-model, a T5 is made from scratch.

The Q-Former between the two is new: the model answers at random until it is trained.
"""

# As in the paper, which has 512 / 2048 and 8 heads.
HEAD_SIZE = 64


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "init",
        help="compose a model from a speech encoder and a language model",
        epilog=EPILOG,
    )
    parser.add_argument("--speech-encoder", required=True, metavar="NAME", help="Hub name or folder")
    parser.add_argument("--language-model", metavar="NAME", help="Hub name or folder (default: a T5 from scratch)")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder that the model is written to")
    parser.add_argument("--speech-layer", type=int, metavar="N", help="its layer to use (default: the last)")
    parser.add_argument("--num-query-tokens", type=int, default=32, metavar="N", help="for an utterance (default: 32)")
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="candidate labels (default: the paper's seven)")
    parser.add_argument("--max-shots", type=int, default=31, metavar="N", help="longest enrollment (default: 31)")
    parser.add_argument(
        "--adaptation-size", type=int, default=0, metavar="N", help="size of the voice embeddings (default: 0, none)"
    )
    parser.add_argument("--qformer-layers", type=int, default=2, metavar="N", help="(default: 2)")
    parser.add_argument(
        "--qformer-size", type=int, default=512, metavar="N", help=f"a multiple of {HEAD_SIZE} (default: 512)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the new weights (default: 0)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from transformers import set_seed

    from emoicl.processing.processing_emoicl import CANDIDATE_LABELS
    from emoicl.training.experiments.recipe import save_checkpoint
    from emoicl.training.publishing.provenance import Provenance
    from emoicl.training.systems.composition import compose

    if options.qformer_size % HEAD_SIZE:
        raise ValueError(f"--qformer-size must be a multiple of {HEAD_SIZE}, not {options.qformer_size}.")
    set_seed(options.seed)
    model, processor = compose(
        options.speech_encoder,
        options.labels or CANDIDATE_LABELS,
        speech_layer=options.speech_layer,
        language_model=options.language_model,
        qformer=qformer_sizes(options),
        num_query_tokens=options.num_query_tokens,
        max_shots=options.max_shots,
        adaptation_config={"size": options.adaptation_size} if options.adaptation_size else None,
    )
    save_checkpoint(model, processor, options.output)
    Provenance.of_model(model).save(options.output)
    print(describe(model, processor))
    print(f"\nWrote {options.output} (model and processor).")
    print(f"\n{next_step(options)}")


def qformer_sizes(options: argparse.Namespace) -> dict[str, int]:
    size = options.qformer_size
    return {
        "hidden_size": size,
        "num_hidden_layers": options.qformer_layers,
        "num_attention_heads": size // HEAD_SIZE,
        "intermediate_size": 4 * size,
    }


def describe(model: "EmoIclForConditionalGeneration", processor: "EmoIclProcessor") -> str:
    """A table of the parts of a model: type, number of parameters, and what else tells them apart."""
    config = model.config
    about_speech = (
        f"{config.speech_config.model_type}, {config.speech_config.num_hidden_layers} layers, frozen, "
        f"{frames_per_second(model, processor):.0f} frames a second"
    )
    rows = [
        ("speech encoder", about_speech, model.model.speech_encoder),
        ("Q-Former", f"new, {config.num_query_tokens} query tokens for an utterance", model.model.qformer),
        ("language model", config.text_config.model_type, model.model.language_model),
    ]
    if model.model.adaptation is not None:
        rows.append(
            ("speaker adaptation", f"new, voice embeddings of {config.adaptation_config.size}", model.model.adaptation)
        )
    return "\n".join(f"{name:20}{millions(part):>10}  {about}" for name, about, part in rows)


def frames_per_second(
    model: "EmoIclForConditionalGeneration", processor: "EmoIclProcessor", seconds: int = 10
) -> float:
    import numpy as np

    extractor = processor.feature_extractor
    hum = np.sin(np.arange(seconds * extractor.sampling_rate)).astype(np.float32)
    return model.model.speech_encoder.feature_mask(extractor(hum)["input_features_mask"]).sum().item() / seconds


def millions(part: "nn.Module") -> str:
    return f"{sum(weight.numel() for weight in part.parameters()) / 1e6:.1f} M"


def next_step(options: argparse.Namespace) -> str:
    """The command that trains the same composition."""
    fields: dict[str, Any] = {"speech_encoder": options.speech_encoder}
    if options.language_model:
        fields["language_model"] = options.language_model
    if options.labels:
        fields["labels"] = shlex.quote(json.dumps(options.labels, ensure_ascii=False))
    # The recipe has a layer of its own.
    fields["speech_layer"] = "null" if options.speech_layer is None else options.speech_layer
    fields |= {f"model.{name}": getattr(options, name) for name in ("num_query_tokens", "max_shots")}
    if options.adaptation_size:
        fields["stages.adaptation.size"] = options.adaptation_size
    else:
        fields["run"] = "speech_encoder zero_shot in_context"
    fields |= {f"qformer.{name}": size for name, size in qformer_sizes(options).items()}
    arguments = "".join(f" \\\n    --{name.replace('_', '-')} {value}" for name, value in fields.items())
    return (
        "Its new parts are random until they are trained. To train this composition with the stages of a recipe:\n"
        f"  emoicl train base-emogator --data-folder FOLDER --output DIR{arguments}"
    )
