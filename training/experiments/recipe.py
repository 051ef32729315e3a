"""A recipe: the YAML file that says all of a training run, from corpora and sizes to stages, and the run itself."""

import logging
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from accelerate import PartialState
from transformers import AutoConfig, Blip2QFormerConfig, PreTrainedModel, T5Config, set_seed

from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig, EmoIclConfig
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import CANDIDATE_LABELS, EmoIclProcessor
from emoicl.training.baselines.speaker_statistics import split_sources
from emoicl.training.data.corpus import Corpus, load_corpus
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.classifier_inputs import InputCache
from emoicl.training.episodes.enrollment import speaker_max_shots
from emoicl.training.evaluation.evaluate import EvaluationReport, evaluate
from emoicl.training.evaluation.plots import plot_shots
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.experiments.stages import run_stage, stage_arguments
from emoicl.training.publishing.cards import save_card
from emoicl.training.publishing.provenance import PLOT_NAME, REPORT_NAME, carry_provenance, save_report
from emoicl.training.systems.adaptation import add_adaptation
from emoicl.training.systems.composition import compose
from emoicl.training.systems.encoder_trainer import EncoderTrainer, EncoderTrainingArguments, start_adaptation
from emoicl.training.systems.initialization import fit_feature_normalization
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer, MetaIclTrainingArguments


logger = logging.getLogger(__name__)

RECIPES = Path(__file__).parents[1] / "recipes"
# Largest number of dimensions of the voice embeddings by which a speech encoder is tuned.
TUNING_SIZE = 256
# It takes no part in the tuning.
SMALLEST_LANGUAGE_MODEL: dict[str, Any] = {
    "num_query_tokens": 1,
    "qformer": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8},
    "text": {"d_model": 8, "d_kv": 8, "d_ff": 8, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 1},
}


@dataclass
class Recipe:
    """
    All of a training run. Fields marked "config" are those of [`EmoIclConfig`].

    Args:
        train (`list[str]`): Tables of the training speakers, relative to `data_folder`.
        validation (`list[str]`): Tables of the speakers that choose the best checkpoint.
        test (`list[str]`): Tables of the speakers that the final report is about.
        stages (`dict[str, dict]`): For each stage, its fields of [`MetaIclTrainingArguments`].
        encoder_tuning (`dict`, *optional*):
            Fields of [`EncoderTrainingArguments`], if the speech encoder is to be tuned before the stages.
        open_labels (`list[str]`):
            Tables of the training speakers with other labels than the candidates, for the tuning of the encoder.
        speech_encoder (`str`): Hub name or folder of the pretrained speech encoder.
        language_model (`str`, *optional*):
            Hub name or folder of a pretrained language model, by default a T5 from scratch; see [`compose`].
        output_dir (`str`): Where checkpoints, the model and the report go.
        data_folder (`str`): Folder that holds the tables.
        cache_folder (`str`, *optional*): Where speech features are kept.
        seed (`int`): Seed of the weights and of all draws.
        labels (`list[str]`): Candidate labels; utterances with other labels are left out, and counted.
        qformer (`dict`): Sizes of the Q-Former, fields of `Blip2QFormerConfig`.
        text (`dict`): Sizes of the language model from scratch, fields of `T5Config`.
        model (`dict`): Further fields of [`EmoIclConfig`].
        card (`dict`): What the model card says that no run can tell; the remarks of [`Provenance`].
    """

    train: list[str]
    validation: list[str]
    test: list[str]
    stages: dict[str, dict[str, Any]]
    speech_encoder: str
    output_dir: str
    language_model: str | None = None
    data_folder: str = "."
    cache_folder: str | None = None
    seed: int = 0
    labels: list[str] = field(default_factory=lambda: list(CANDIDATE_LABELS))
    encoder_tuning: dict[str, Any] | None = None
    open_labels: list[str] = field(default_factory=list)
    qformer: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path, overrides: Mapping[str, str] | None = None) -> "Recipe":
        """
        Reads a recipe.

        Args:
            path (`str` or `Path`): A YAML file, or the name of a recipe that comes with the package.
            overrides (`Mapping[str, str]`, *optional*):
                New values by dotted name, such as `{"stages.zero_shot.max_steps": "100"}`, written as in YAML.

        Raises:
            `ValueError`: If there is no such recipe or field, or a field is missing.
        """
        path = Path(path)
        if not path.is_file():
            path = RECIPES / f"{path}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
            raise ValueError(f"There is no recipe {path.stem!r}: give a YAML file, or one of {known}.")
        content = read_yaml(path.read_text(), str(path))
        if not isinstance(content, dict):
            raise ValueError(f"{path}: a recipe is a mapping of fields to values.")
        for name, value in (overrides or {}).items():
            override(content, name, read_yaml(value, f"--{name}"))
        known_fields = {item.name for item in fields(cls)}
        required = {item.name for item in fields(cls) if item.default is item.default_factory is MISSING}
        if unknown := sorted(set(content) - known_fields):
            raise ValueError(
                f"{path}: no such field {', '.join(unknown)}; there are {', '.join(sorted(known_fields))}."
            )
        if missing := sorted(required - set(content)):
            raise ValueError(f"{path}: the field {', '.join(missing)} is missing.")
        recipe = cls(**content)
        recipe.check_sections(path)
        return recipe

    def check_sections(self, path: Path) -> None:
        """Refuses fields that the classes would pass over, or miss hours later."""
        sections = {"qformer": (self.qformer, Blip2QFormerConfig), "text": (self.text, T5Config)}
        sections["model"] = (self.model, EmoIclConfig)
        sections["model.adaptation_config"] = (self.model.get("adaptation_config") or {}, EmoIclAdaptationConfig)
        sections["encoder_tuning"] = (self.encoder_tuning or {}, EncoderTrainingArguments)
        for stage, arguments in self.stages.items():
            sections[f"stages.{stage}"] = (arguments, MetaIclTrainingArguments)
        for section, (content, described_by) in sections.items():
            if unknown := sorted(set(content) - {item.name for item in fields(described_by)} - {"known_labels"}):
                raise ValueError(
                    f"{path}: {section} has no field {', '.join(unknown)}; its fields are those of "
                    f"{described_by.__name__}."
                )

    def tables(self, split: str) -> list[Path]:
        return [Path(self.data_folder) / table for table in getattr(self, split)]


class YamlLoader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as it is in YAML 1.2."""


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(text: str, name: str) -> Any:
    try:
        return yaml.load(text, YamlLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: cannot be read as YAML: {' '.join(str(error).split())}") from error


def override(content: dict[str, Any], name: str, value: Any) -> None:
    """Sets the value of a dotted name in nested mappings, in place."""
    *parents, last = name.split(".")
    for parent in parents:
        if not isinstance(content.get(parent), dict):
            raise ValueError(f"--{name}: the recipe has no {parent!r}; it has {', '.join(content)}.")
        content = content[parent]
    content[last] = value


class TrainedModel(NamedTuple):
    """
    What a recipe makes.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model.
        processor ([`EmoIclProcessor`]): Its processor.
        features ([`FeatureCache`]): Features of its speech encoder.
    """

    model: EmoIclForConditionalGeneration
    processor: EmoIclProcessor
    features: FeatureCache


def train(recipe: Recipe) -> EvaluationReport:
    """
    Runs a recipe: [`train_model`], then the report on the test speakers.

    Args:
        recipe ([`Recipe`]): What to run.

    Returns:
        [`EvaluationReport`]: Of the test speakers; also written to `output_dir/report.json`.

    Raises:
        `ValueError`: If a table is not there, or as [`train_model`] has it.
    """
    output_dir, processes = Path(recipe.output_dir), PartialState()
    # Before hours of training, because it may not be there.
    test = load_corpus(recipe.tables("test"), recipe.labels)
    trained = train_model(recipe)
    trained.features.fill(test.utterances[processes.process_index :: processes.num_processes])
    processes.wait_for_everyone()
    most_shots = min(speaker_max_shots(test, speaker_id)["TU+LD"] for speaker_id in test.by_speaker)
    report = evaluate(SpeechLmRecognizer(*trained), test, shots=range(min(7, most_shots) + 1), setting="TU+LD")
    if processes.is_main_process:
        report.save(output_dir / REPORT_NAME)
        plot_shots(report, output_dir / PLOT_NAME)
        save_model(recipe, trained)
    processes.wait_for_everyone()
    return report


def train_model(recipe: Recipe) -> TrainedModel:
    """
    Runs the training of a recipe: the tuning of the speech encoder if there is one, all stages, each from its best
    checkpoint, then the speaker adaptation if `model` has one. Run again after an interruption, it goes on at the
    checkpoint that it was at. Several processes (`accelerate launch`) share the work.

    Args:
        recipe ([`Recipe`]): What to run.

    Returns:
        [`TrainedModel`]

    Raises:
        `ValueError`: If `output_dir` holds a run with other settings, or the `size` or `sources` of
            `adaptation_config` are not in the training corpora.
    """
    output_dir, processes = Path(recipe.output_dir), PartialState()
    adaptation_config = recipe.model.get("adaptation_config")
    if adaptation_config is not None:
        EmoIclAdaptationConfig(**adaptation_config).set_feature_size(pooled_size(recipe))
    training, validation = (load_corpus(recipe.tables(split), recipe.labels) for split in ("train", "validation"))
    # Before hours of training, because a name may be wrong.
    if adaptation_config is not None:
        split_sources(training, adaptation_config.get("sources") or [], recipe.labels)
    with processes.main_process_first():
        keep_settings(asdict(recipe), output_dir / "recipe.yaml")
    tuned = tune_speech_encoder(recipe, training) if recipe.encoder_tuning is not None else None
    set_seed(recipe.seed)
    without_adaptation: dict[str, Any] = {**recipe.model, "adaptation_config": None}
    model, processor = compose(
        recipe.speech_encoder,
        recipe.labels,
        language_model=recipe.language_model,
        qformer=recipe.qformer,
        text=recipe.text,
        **without_adaptation,
    )
    if tuned is not None:
        model.model.speech_encoder.load_state_dict(tuned.state_dict())
    features = FeatureCache(model, processor.feature_extractor, recipe.cache_folder)
    for corpus in (training, validation):
        features.fill(corpus.utterances[processes.process_index :: processes.num_processes])
    processes.wait_for_everyone()
    fit_feature_normalization(model, training, features)
    for name, arguments in recipe.stages.items():
        stage_dir = output_dir / name
        args = MetaIclTrainingArguments(**(stage_arguments(stage_dir, recipe.seed) | arguments))

        def make_trainer(model: EmoIclForConditionalGeneration, args=args) -> MetaIclTrainer:
            return MetaIclTrainer(
                model=model,
                args=args,
                train_dataset=training,
                eval_dataset=validation,
                processing_class=processor,
                features=features,
            )

        model = run_stage(stage_dir, model, make_trainer)
    if adaptation_config is not None:
        model = add_adaptation(model, processor, training, validation, features, adaptation_config)
    return TrainedModel(model, processor, features)


def pooled_size(recipe: Recipe) -> int:
    """Number of dimensions of an utterance's pooled features: mean and standard deviation."""
    return 2 * AutoConfig.from_pretrained(recipe.speech_encoder).hidden_size


def tune_speech_encoder(recipe: Recipe, training: Corpus) -> PreTrainedModel:
    """
    The speech encoder of a recipe, tuned on the utterances of the training speakers, those with open labels too.

    Args:
        recipe ([`Recipe`]): With `encoder_tuning`.
        training ([`Corpus`]): Its training utterances of the candidate labels.

    Returns:
        `PreTrainedModel`
    """
    stage_dir = Path(recipe.output_dir) / "speech_encoder"
    open_tables = recipe.tables("open_labels")
    corpus = Corpus([*training, *load_corpus(open_tables)]) if open_tables else training
    set_seed(recipe.seed)
    model, processor = compose(
        recipe.speech_encoder,
        recipe.labels,
        known_labels=[*recipe.labels, *sorted(set(corpus.labels) - set(recipe.labels))],
        freeze_speech_encoder=False,
        adaptation_config={"size": min(TUNING_SIZE, pooled_size(recipe))},
        speech_layer=recipe.model.get("speech_layer"),
        **SMALLEST_LANGUAGE_MODEL,
    )
    inputs = InputCache(processor.feature_extractor)
    without_evaluation = {"eval_strategy": "no", "load_best_model_at_end": False}
    arguments = stage_arguments(stage_dir, recipe.seed) | without_evaluation | (recipe.encoder_tuning or {})

    def make_tuner(model: EmoIclForConditionalGeneration) -> EncoderTrainer:
        start_adaptation(model, corpus, inputs)
        return EncoderTrainer(model, EncoderTrainingArguments(**arguments), corpus, recipe.labels, inputs)

    return run_stage(stage_dir, model, make_tuner).model.speech_encoder


def save_model(recipe: Recipe, trained: TrainedModel) -> None:
    """Saves the end of a run, with the report and the card of the model."""
    output_dir = Path(recipe.output_dir)
    folder = output_dir / "model"
    save_checkpoint(trained.model, trained.processor, folder)
    before = output_dir / "speech_encoder" / "model" if recipe.encoder_tuning is not None else None
    carry_provenance(output_dir / [*recipe.stages][-1] / "model", folder, recipe.card, before)
    save_report(output_dir, folder)
    save_card(folder)


def keep_settings(settings: dict[str, Any], path: Path) -> None:
    """Writes settings beside what is made with them, so that a run is never taken up again with others.

    Args:
        settings (`dict`): Plain values.
        path (`Path`): The YAML file.

    Raises:
        `ValueError`: If the file is there with other settings.
    """
    content = yaml.safe_dump(settings, sort_keys=False)
    if path.exists() and path.read_text() != content:
        raise ValueError(
            f"{path.parent} holds a run with other settings, {path.name}: choose another folder, or remove that one."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def save_checkpoint(model: EmoIclForConditionalGeneration, processor: EmoIclProcessor, folder: str | Path) -> None:
    """Saves a model and its processor.

    Args:
        model ([`EmoIclForConditionalGeneration`]): The model.
        processor ([`EmoIclProcessor`]): Its processor.
        folder (`str` or `Path`): Where to.
    """
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
