"""Does a pretrained language model read enrollments better? It is taught by made-up speakers, as the small T5 is.

python benchmarks/pretrained_reader.py VOICES --data FOLDER --output outputs/reader/t5 --checkpoint speech
python benchmarks/pretrained_reader.py VOICES --output outputs/reader/smollm2 --language-model F.gguf
python benchmarks/pretrained_reader.py VOICES --output outputs/reader/random --random --rank 0 --language-model F.gguf

Nobody is heard in training, and in the tests an utterance is its voice embedding. So the first command keeps in the
folder VOICES, if there is none, all that the others need: those of the test utterances and the statistics of the
training speakers, as a checkpoint that was trained on them has both (`speech`, `bursts` or a folder). Then it measures
that checkpoint. The second teaches a pretrained decoder-only language model by low-rank adapters (LoRA, extra `lora`),
the third one of its kind with random weights, all of which are trained. Without `--language-model` it is the T5 from
scratch of the recipe `speech`.

Each is measured alone, without the speaker adaptation, and ends with a table of all that stand beside its output. With
`--seconds` a training goes by the clock, with as many steps as there is time for. With `--steps`, interrupted, it goes
on at its last checkpoint.
"""

import argparse
import copy
import json
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, WhisperConfig, WhisperFeatureExtractor, WhisperModel, set_seed

from emoicl import evaluate
from emoicl.bundled import find_model
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.data.corpus import Corpus, Utterance, load_corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.made_up_speakers import Difficulty
from emoicl.training.evaluation.evaluate import ALL_CONTROLS
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.experiments.loading import load_recipe
from emoicl.training.systems.checkpoints import take_up
from emoicl.training.systems.composition import compose
from emoicl.training.systems.made_up_config import MadeUpTrainingArguments
from emoicl.training.systems.made_up_trainer import MadeUpTrainer, prepare_to_hear, prepare_to_read


SHOTS = (0, 1, 2, 3, 5, 7)
# nEMO has six emotions, so that a target has five others to enroll.
TESTED = {"ravdess/test": SHOTS, "nemo/test": SHOTS[:-1], "emogator/test": SHOTS}
STATISTICS = "statistics.safetensors"
# Layers of a decoder-only language model of Llama's kind.
ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PER_SPEAKER = 180
# What hears and names is new, and learns as fast as adapters do; a language model that is trained itself does not.
LEARNING_RATE = 1e-3
WARMUP_SHARE = 0.05


def load_checkpoint(checkpoint: str) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor]:
    folder = find_model(checkpoint)
    model = EmoIclForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), EmoIclProcessor.from_pretrained(folder)


@torch.no_grad()
def keep_voices(options: argparse.Namespace) -> None:
    """Writes what a checkpoint knows of its training speakers and what it hears of each test utterance: tables whose
    clips are voice embeddings, and of the training corpora one utterance of each speaker, to tell how many they are.
    """
    model, processor = load_checkpoint(options.checkpoint)
    adaptation: Any = model.model.adaptation
    size = model.config.voice_token_size or adaptation.config.size
    features = FeatureCache(model, processor.feature_extractor)
    for name in (*(f"{corpus}/train" for corpus in options.training), *TESTED):
        corpus = load_corpus(options.data / f"{name}.parquet", processor.candidate_labels)
        if name not in TESTED:
            corpus = Corpus(corpus[indices[0]] for indices in corpus.by_speaker.values())
        voices = adaptation.project(torch.from_numpy(PooledFeatures(features)(corpus)).float())[:, :size]
        columns = {"audio": [voice.tobytes() for voice in voices.numpy()]}
        columns |= {"emotion": corpus.labels, "speaker_id": corpus.speaker_ids}
        (options.voices / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), options.voices / f"{name}.parquet")
    statistics = {"label_means": adaptation.label_means[:, :, :size]}
    statistics |= {f"log_variances.{name}": of[:, :size] for name, of in adaptation.log_variances.named_parameters()}
    save_file({name: values.contiguous() for name, values in statistics.items()}, options.voices / STATISTICS)


class KeptVoices:
    """In place of a [`FeatureCache`]: clips that are voice embeddings."""

    def fill(self, utterances: Iterable[Utterance]) -> None:
        """There is nothing to compute."""

    fill_together = fill

    def load(self, utterances: Sequence[Utterance]) -> dict[str, torch.Tensor]:
        voices = [np.frombuffer(cast(bytes, utterance.audio), np.float32) for utterance in utterances]
        return {"voices": torch.from_numpy(np.stack(voices))}


class VoiceRecognizer(SpeechLmRecognizer):
    """What a language model makes of voice embeddings."""

    def embed_batch(self, speech: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        voice_token: Any = self.model.model.voice_token
        return {"query_embeds": voice_token(speech["voices"]), "voice_embeds": speech["voices"]}


def compose_reader(options: argparse.Namespace) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor]:
    """A new model in the layout of the recipe `speech`, with its T5 or with another language model, that knows the
    training speakers. Its speech encoder is a stand-in: none is heard."""
    recipe = load_recipe("speech")
    fields: dict[str, Any] = recipe.model | {"num_open_labels": recipe.num_open_labels, "text": recipe.text}
    if options.language_model:
        # Its embeddings are far smaller than those of a new T5.
        fields = recipe.model | {"language_model": options.language_model, "initializer_range": 0.02}
    statistics = load_file(options.voices / STATISTICS)
    silent = {"size": statistics["label_means"].shape[-1], "probe_weight": 0.0, "prototype_weight": 0.0}
    set_seed(options.seed)
    with tempfile.TemporaryDirectory() as encoder:
        halves = ("encoder", "decoder")
        sizes: Any = {f"{half}_{part}": 1 for half in halves for part in ("layers", "attention_heads")}
        WhisperModel(WhisperConfig(d_model=64, **sizes)).save_pretrained(encoder)
        WhisperFeatureExtractor().save_pretrained(encoder)
        model, processor = compose(encoder, recipe.labels, adaptation_config=silent, **fields)
    adaptation: Any = model.model.adaptation
    adaptation.load_state_dict(adaptation.state_dict() | statistics)
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


class Course(TrainerCallback):
    """
    How far a training is, by its steps or by the clock, and what follows of that: how hard its contexts are, and its
    learning rate.

    Args:
        args ([`MadeUpTrainingArguments`]): Of the training.
        seconds (`float`, *optional*): How long it lasts, in place of the steps.
        matching_share (`float`): Share of it in which all labels are unknown words.
    """

    def __init__(self, args: MadeUpTrainingArguments, seconds: float | None, matching_share: float):
        self.args = args
        self.seconds = seconds
        self.matching_share = matching_share
        self.start = time.monotonic()

    def share(self, step: int) -> float:
        """From 0 to 1."""
        return (time.monotonic() - self.start) / self.seconds if self.seconds else step / self.args.max_steps

    def rate(self, step: int) -> float:
        """Rises to 1, and falls to 0 as a cosine does."""
        share = min(1.0, self.share(step))
        return min(1.0, share / WARMUP_SHARE + 1e-3) * 0.5 * (1 + math.cos(math.pi * share))

    def on_train_begin(self, args, state, control, **kwargs):
        self.start = time.monotonic()

    def on_epoch_begin(self, args, state, control, train_dataloader, **kwargs):
        share, ends = self.share(state.global_step), self.matching_share + self.args.easing_share
        left = max(0.0, 1 - share / ends)
        noise = self.args.noise * (self.args.first_noise / self.args.noise) ** left
        train_dataloader.dataset.difficulties = [Difficulty(noise, share < self.matching_share)]

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop |= self.share(state.global_step) >= 1


def teach(options: argparse.Namespace) -> tuple[EmoIclForConditionalGeneration, EmoIclProcessor, dict[str, Any]]:
    """Trains a new model by made-up speakers; returns what there is to tell of the training, too."""
    model, processor = compose_reader(options)
    tables = [path for path in options.voices.glob("*/train.parquet")]
    training = load_corpus(sorted(tables), processor.candidate_labels)
    (prepare_to_hear if options.language_model else prepare_to_read)(model)
    language_model: Any = model.model.language_model
    adapters = add_adapters(language_model, options.rank) if options.rank and options.language_model else None
    on_gpu = torch.accelerator.is_available()
    args = MadeUpTrainingArguments(
        str(options.output / "training"),
        max_steps=10**6 if options.seconds else options.steps,
        per_device_train_batch_size=options.contexts,
        num_targets=options.targets,
        contexts_per_epoch=options.steps_of_epoch * options.contexts,
        matching_steps=1,
        bf16=True,
        use_cpu=not on_gpu,
        dataloader_num_workers=options.workers,
        seed=options.seed,
        logging_steps=options.steps_of_epoch,
        logging_nan_inf_filter=False,  # which waits for the GPU at each step
        save_strategy="no" if options.seconds else "steps",
        save_steps=100,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
    )
    cast(torch.nn.Module, model).to(args.device)
    course = Course(args, options.seconds, options.matching_share)
    optimizer = torch.optim.AdamW(weight_groups(model, options), betas=(0.9, 0.98), fused=on_gpu)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, course.rate)
    trainer = MadeUpTrainer(
        model,
        args,
        training,
        processor,
        features=cast(Any, KeptVoices()),
        callbacks=[course],
        optimizers=(optimizer, schedule),
    )
    # A card tells how long the training clips are, and these are no sounds.
    trainer.remove_callback(trainer.card)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    start = time.monotonic()
    trainer.train(resume_from_checkpoint=take_up(options.output / "training"))
    seconds = time.monotonic() - start
    if adapters is not None:
        small = {name: weight.detach().half().contiguous() for name, weight in trained.items()}
        save_file(small, options.output / "adapters.safetensors")
        language_model.float()
        adapters.merge_and_unload()
    losses = [(entry["step"], round(entry["loss"], 3)) for entry in trainer.state.log_history if "loss" in entry]
    told = {"steps": trainer.state.global_step, "seconds": round(seconds, 1), "losses": losses}
    return model, processor, told | {"trained_weights": sum(weight.numel() for weight in trained.values())}


def weight_groups(model: EmoIclForConditionalGeneration, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What is trained, for an optimizer: the language model's own weights at another rate, and vectors undecayed."""
    of_language_model = {id(weight) for weight in model.model.language_model.parameters()}
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for weight in model.parameters():
        if weight.requires_grad:
            rate = options.learning_rate if id(weight) in of_language_model else LEARNING_RATE
            groups.setdefault((rate, 0.05 if weight.ndim > 1 else 0.0), []).append(weight)
    return [{"params": weights, "lr": rate, "weight_decay": decay} for (rate, decay), weights in groups.items()]


def some_of(corpus: Corpus, num_utterances: int) -> Corpus:
    """Whole speakers until there are as many utterances; of a long one, each n-th."""
    chosen = []
    for speaker in sorted(corpus.by_speaker):
        utterances = [utterance for utterance in corpus if utterance.speaker_id == speaker]
        if len(chosen) < num_utterances:
            chosen += utterances[:: -(-len(utterances) // PER_SPEAKER)]
    return Corpus(chosen)


def measure(model: EmoIclForConditionalGeneration, processor: EmoIclProcessor, options: argparse.Namespace) -> None:
    """Writes the rows of the evaluation of each corpus, by its name."""
    adaptation: Any = model.model.adaptation
    adaptation.config.probe_weight = adaptation.config.prototype_weight = 0.0
    adaptation.config.familiarity_size = 0
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    features = cast(Any, KeptVoices())
    cast(torch.nn.Module, model).to(device)
    recognizer = VoiceRecognizer(model, processor, features, batch_size=options.batch_size)
    found: dict[str, Any] = {}
    for name, shots in TESTED.items():
        corpus = load_corpus(options.voices / f"{name}.parquet", processor.candidate_labels)
        corpus = some_of(corpus, options.utterances)
        with torch.autocast(device.type, torch.bfloat16):
            report = evaluate(
                recognizer,
                corpus,
                shots,
                seeds=range(options.draws),
                controls=ALL_CONTROLS,
                batch_size=options.batch_size,
            )
        found[f"{name}, {len(corpus.by_speaker)} speakers, {len(corpus)} utterances"] = report.as_dict()["rows"]
        (options.output / "report.json").write_text(json.dumps({"corpora": found}, indent=1))


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
    parser.add_argument("voices", type=Path, help="folder of voice embeddings")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of the tables ravdess/test.parquet and so on, to make it of")
    parser.add_argument("--training", nargs="+", default=["ravdess", "nemo"], help="corpora that --checkpoint knows")
    parser.add_argument("--checkpoint", help="one that is measured, not taught")
    parser.add_argument("--language-model", help="Hub name, folder or GGUF file of a decoder-only one")
    parser.add_argument("--random", action="store_true", help="with random weights")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters; 0 trains all weights")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE, help="of the language model")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seconds", type=float, help="how long to train, in place of --steps")
    parser.add_argument("--matching-share", type=float, default=0.2, help="of the training, with unknown words alone")
    parser.add_argument("--steps-of-epoch", type=int, default=5, help="after so many it gets harder")
    parser.add_argument("--contexts", type=int, default=8, help="of a batch")
    parser.add_argument("--targets", type=int, default=7, help="of a context")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw contexts")
    parser.add_argument("--utterances", type=int, default=540, help="at most so many of each corpus, and one speaker")
    parser.add_argument("--draws", type=int, default=5, help="of enrollments")
    parser.add_argument("--batch-size", type=int, default=64, help="of prompts that are measured")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.voices.exists():
        keep_voices(options)
    saved = options.output / "model"
    if not options.checkpoint and not saved.exists():
        model, processor, told = teach(options)
        told = {name: value for name, value in vars(options).items() if not isinstance(value, Path)} | told
        (options.output / "training.json").write_text(json.dumps(told, indent=1))
        model.save_pretrained(saved)
        processor.save_pretrained(saved)
    else:
        model, processor = load_checkpoint(options.checkpoint or str(saved))
    measure(model, processor, options)
    print(table(options.output.parent))


if __name__ == "__main__":
    main()
