"""Does a pretrained language model read enrollments better? It is taught by made-up speakers, as the small T5 is.

python benchmarks/pretrained_reader.py FOLDER SPEECH_ENCODER --output outputs/smollm2 --language-model F.gguf
python benchmarks/pretrained_reader.py FOLDER SPEECH_ENCODER --output outputs/random --random --language-model F.gguf
python benchmarks/pretrained_reader.py FOLDER SPEECH_ENCODER --output outputs/t5
python benchmarks/pretrained_reader.py FOLDER SPEECH_ENCODER --output outputs/taught --checkpoint FOLDER

The first teaches a pretrained decoder-only language model by low-rank adapters (LoRA, extra `lora`), the second one of
its kind with random weights, the third the T5 from scratch of the recipe `speech` on the same contexts. The last
measures a checkpoint that is there. Each is measured alone, without the speaker adaptation, and ends with a table of
all that stand beside its output. Interrupted, a training goes on at its last checkpoint.
"""

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from emoicl import evaluate
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.experiments.loading import load_recipe
from emoicl.training.systems.adaptation import fit_statistics
from emoicl.training.systems.checkpoints import take_up
from emoicl.training.systems.composition import compose
from emoicl.training.systems.made_up_config import MadeUpTrainingArguments
from emoicl.training.systems.made_up_trainer import MadeUpTrainer, prepare_to_hear, prepare_to_read


SHOTS = (0, 1, 3, 7)
TESTED = ("ravdess/test", "nemo/test", "emogator/validation")
# Layers of a decoder-only language model of Llama's kind.
ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PER_SPEAKER = 30


def compose_reader(options: argparse.Namespace) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor]:
    """A new model in the layout of the recipe `speech`, with its T5 or with another language model."""
    recipe = load_recipe("speech")
    fields: dict[str, Any] = recipe.model | {"num_open_labels": recipe.num_open_labels, "text": recipe.text}
    if options.language_model:
        # Its embeddings are far smaller than those of a new T5.
        fields = recipe.model | {"language_model": options.language_model, "initializer_range": 0.02}
    silent = {"size": 256, "probe_weight": 0.0, "prototype_weight": 0.0}
    set_seed(0)
    model, processor = compose(
        options.encoder,
        recipe.labels,
        speech_layer=recipe.speech_layer,
        audio=recipe.audio,
        adaptation_config=silent,
        **fields,
    )
    if options.random:
        language_model: Any = model.model.language_model
        fresh = type(language_model)(copy.deepcopy(language_model.config))
        language_model.load_state_dict(fresh.state_dict())
    return model, processor


def add_adapters(language_model: Any, rank: int) -> Any:
    """Freezes a language model, in bfloat16, but for low-rank adapters in float32; returns what merges them."""
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    language_model.to(torch.bfloat16)
    adapters = LoraModel(language_model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED), "default")
    for name, weight in language_model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
    return adapters


def teach(options: argparse.Namespace) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor, dict[str, Any]]:
    """Trains a new model by made-up speakers; returns what there is to tell of the training, too."""
    model, processor = compose_reader(options)
    training = load_corpus(
        [options.data / f"{name}/train.parquet" for name in ("ravdess", "nemo")], processor.candidate_labels
    )
    features = FeatureCache(model, processor.feature_extractor)
    fit_statistics(model, training, features)
    (prepare_to_hear if options.language_model else prepare_to_read)(model)
    language_model: Any = model.model.language_model
    adapters = add_adapters(language_model, options.rank) if options.rank and options.language_model else None
    args = MadeUpTrainingArguments(
        str(options.output / "training"),
        max_steps=options.steps,
        per_device_train_batch_size=options.contexts,
        num_targets=options.targets,
        contexts_per_epoch=5 * options.contexts,
        learning_rate=options.learning_rate,
        warmup_steps=options.steps // 20,
        lr_scheduler_type="cosine",
        weight_decay=0.05,
        adam_beta2=0.98,
        matching_steps=int(0.5 * options.steps),
        easing_share=0.7,
        bf16=True,
        use_cpu=not torch.accelerator.is_available(),
        logging_steps=5,
        save_steps=100,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = MadeUpTrainer(model, args, training, processor, features=features)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    start = time.monotonic()
    trainer.train(resume_from_checkpoint=take_up(options.output / "training"))
    seconds = time.monotonic() - start
    if adapters is not None:
        language_model.float()
        adapters.merge_and_unload()
    losses = [(entry["step"], round(entry["loss"], 3)) for entry in trainer.state.log_history if "loss" in entry]
    told = {"steps": options.steps, "contexts": options.contexts, "targets": options.targets, "seconds": seconds}
    return model, processor, told | {"trained_weights": trained, "losses": losses}


def some_of(corpus: Corpus, num_utterances: int) -> Corpus:
    """Whole speakers until there are as many utterances; of a long one, each n-th."""
    chosen = []
    for speaker in sorted(corpus.by_speaker):
        utterances = [utterance for utterance in corpus if utterance.speaker_id == speaker]
        if len(chosen) < num_utterances:
            chosen += utterances[:: -(-len(utterances) // PER_SPEAKER)]
    return Corpus(chosen)


def measure(model: EmoIclForConditionalGeneration, processor: EmoIclProcessor, options: argparse.Namespace) -> Any:
    """Rows of the evaluation of each corpus, by its name."""
    adaptation: Any = model.model.adaptation
    adaptation.config.probe_weight = adaptation.config.prototype_weight = 0.0
    recognizer = SpeechLmRecognizer(model.eval(), processor)
    found = {}
    for name in TESTED:
        corpus = some_of(load_corpus(options.data / f"{name}.parquet", processor.candidate_labels), options.utterances)
        shots = [k for k in SHOTS if k < 7 or name != "nemo/test"] + [5] * (name == "nemo/test")
        with torch.autocast("cpu", torch.bfloat16):
            report = evaluate(recognizer, corpus, shots, seeds=range(options.seeds))
        found[f"{name}, {len(corpus.by_speaker)} speakers, {len(corpus)} utterances"] = report.as_dict()["rows"]
    return found


def table(folder: Path) -> str:
    """What was measured of all systems beside each other: UA_spk, and the negative log-likelihood in parentheses."""
    runs = {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/report.json"))}
    parts = []
    for name in dict.fromkeys(name for run in runs.values() for name in run["corpora"]):
        rows_of = {system: run["corpora"][name] for system, run in runs.items() if name in run["corpora"]}
        head = [f"{row['control'] or ''} {row['shots']}".strip() for row in next(iter(rows_of.values()))]
        parts += [f"| {name} | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
        for system, rows in rows_of.items():
            cells = [f"{row['ua_spk']:.3f} ({row['nll']:.2f})" for row in rows]
            parts.append(f"| {system} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the tables ravdess/train.parquet and so on")
    parser.add_argument("encoder", help="Hub name or folder of Whisper-base")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--language-model", help="Hub name, folder or GGUF file of a decoder-only one")
    parser.add_argument("--random", action="store_true", help="with random weights")
    parser.add_argument("--checkpoint", help="one that is measured, not taught")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters; 0 trains all weights")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--contexts", type=int, default=8, help="of a batch")
    parser.add_argument("--targets", type=int, default=14, help="of a context")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--utterances", type=int, default=120, help="at most so many of each corpus, and one speaker")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    saved, told = options.output / "model", {}
    if not options.checkpoint and not saved.exists():
        model, processor, told = teach(options)
        model.save_pretrained(saved)
        processor.save_pretrained(saved)
        (options.output / "training.json").write_text(json.dumps(told, indent=1))
    else:
        folder = options.checkpoint or str(saved)
        model = EmoIclForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        processor = EmoIclProcessor.from_pretrained(folder)
    found = {"corpora": measure(model, processor, options)}
    (options.output / "report.json").write_text(json.dumps(found, indent=1))
    print(table(options.output.parent))


if __name__ == "__main__":
    main()
