"""Reads recipes: files that extend each other, fields set on the command line, and one line for what is wrong."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from transformers import Blip2QFormerConfig, PreTrainedConfig, T5Config

from emoicl.modeling.configuration_emoicl import EmoIclConfig
from emoicl.training.data.tables import is_file
from emoicl.training.experiments.recipe import Recipe, SystemTest
from emoicl.training.experiments.stages import STAGES, written_types
from emoicl.training.publishing.provenance import Provenance
from emoicl.training.systems.lora import adapter_fields


RECIPES = Path(__file__).parents[1] / "recipes"
SECTIONS = {"model": EmoIclConfig, "qformer": Blip2QFormerConfig, "text": T5Config}
# Of the configurations, what no recipe sets: what all have, and what is made of other fields and stages.
NOT_SET = {item.name for item in fields(PreTrainedConfig)} | {
    "adaptation_config", "audio_token_id", "freeze_speech_encoder", "id2label", "is_encoder_decoder",
    "qformer_config", "speech_config", "text_config",
}  # fmt: skip
# Beyond what the types say, by the name of the field wherever it stands.
RANGES = {
    Field(gt=0): "learning_rate adaptation_learning_rate num_train_epochs eval_steps save_steps logging_steps longest "
    "lora_alpha",
    Field(ge=1): "num_query_tokens hidden_size intermediate_size num_attention_heads d_model d_kv d_ff num_layers "
    "num_decoder_layers num_heads per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps "
    "targets_per_speaker enrollment_seeds setting_seeds orders r",
    Field(ge=0): "seed min_shots max_shots augmented_copies num_hidden_layers warmup_steps weight_decay max_grad_norm "
    "pseudo_speaker_spread enrolled_share_exponent",
    Field(ge=0, le=1): "symbol_share frame_share open_share hidden_share absent_share label_smoothing_factor",
    Field(ge=0, lt=1): "feature_dropout dropout dropout_rate hidden_dropout_prob attention_probs_dropout_prob "
    "lora_dropout",
    Field(ge=-1): "max_steps",
}
RANGE_OF = {name: bounds for bounds, names in RANGES.items() for name in names.split()}
STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


class YamlLoader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, and `no` and `on` are text, as they are in YAML 1.2."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


# What recipes extend, and is none itself.
BUILDING_BLOCKS = ("sizes/", "layouts/")


def recipe_names() -> list[str]:
    """The recipes that come with the package, such as `"base-emogator"` and `"systems/proposed"`."""
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))


def system_names(name: str) -> list[str]:
    """The recipes that `emoicl reproduce` calls so: a system of the paper, a folder of recipes, or that recipe."""
    if (RECIPES / name).is_dir():
        return [known for known in recipe_names() if known.startswith(f"{name}/")]
    return [f"systems/{name}" if (RECIPES / "systems" / f"{name}.yaml").is_file() else name]


def load_recipe(name: str | Path, overrides: Mapping[str, Any] | None = None, size: str | None = None) -> Recipe:
    """
    Reads a recipe.

    Args:
        name (`str` or `Path`): A YAML file, or the name of a recipe that comes with the package.
        overrides (`Mapping[str, Any]`, *optional*):
            New values by dotted name, such as `{"stages.zero_shot.max_steps": 100}`.
        size (`str`, *optional*): One of `recipes/sizes`, or a file, to extend in place of the size that it names.

    Returns:
        [`Recipe`]

    Raises:
        `ValueError`: If there is no such recipe, or anything in it is wrong; the message is one line that names the
            file or the option, the field, its value and what would be right.
    """
    path = find_recipe(name)
    content: dict[str, Any] = {section: {} for section in (*SECTIONS, "stages", "lora", "card")}
    origins: dict[str, str] = {}
    for layer_path, layer in read_layers(path, size):
        merge(content, layer, str(layer_path), origins)
    for dotted, value in (overrides or {}).items():
        override(content, dotted.replace("-", "_"), value, as_option(dotted), origins)
    return build(path.stem, content, Origins(str(path), origins))


def find_recipe(name: str | Path, beside: Path | None = None) -> Path:
    """The file of a recipe: one that is there, also beside another file, or one that comes with the package."""
    for path in (Path(name), *([beside / name] if beside else []), RECIPES / f"{name}.yaml"):
        if is_file(path):
            return path
    raise ValueError(f"There is no recipe {str(name)!r}{nearest(str(name), recipe_names())}")


def read_layers(path: Path, size: str | None, within: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """The recipes that a recipe extends, each before what extends it, and itself."""
    if path in within:
        raise ValueError(f"{path}: extends itself.")
    content = read_yaml(path.read_bytes(), str(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a recipe is a mapping of fields to values.")
    extends = content.pop("extends", [])
    check_value(f"{path}: extends", "extends", extends, list[str])
    layers = []
    for name in extends:
        if size is not None and name.startswith("sizes/"):
            name = size if Path(size).is_file() else f"sizes/{size}"
        try:
            found = find_recipe(name, path.parent)
        except ValueError as error:
            raise ValueError(f"{path}: extends: {error}") from None
        layers += read_layers(found, size, (*within, path))
    return [*layers, (path, content)]


def read_yaml(text: str | bytes, where: str) -> Any:
    try:
        return yaml.load(text, YamlLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: cannot be read as YAML: it is nested too deep, or in itself.") from error


def merge(
    content: dict[str, Any], layer: Mapping[str, Any], where: str, origins: dict[str, str], at: str = ""
) -> None:
    """Puts a layer over the content, mappings into mappings, in place."""
    for key, value in layer.items():
        dotted = f"{at}{key}"
        origins[dotted] = where
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            merge(content[key], value, where, origins, f"{dotted}.")
        else:
            content[key] = value


def override(content: dict[str, Any], dotted: str, value: Any, where: str, origins: dict[str, str]) -> None:
    """Sets the value of a dotted name, in place."""
    *parents, last = dotted.split(".")
    for parent in parents:
        if not isinstance(content.get(parent), dict):
            raise ValueError(f"{where}: the recipe has no {parent!r}{nearest(parent, content)}")
        content = content[parent]
    content[last] = value
    origins[dotted] = where


class Origins:
    """Where each field was set, for messages: a file or an option."""

    def __init__(self, path: str, by_field: Mapping[str, str]):
        self.path = path
        self.by_field = by_field

    def of(self, dotted: str) -> str:
        """A field and where it was set: `"recipe.yaml: seed"`, or the option."""
        known = dotted
        while known not in self.by_field and "." in known:
            known = known.rpartition(".")[0]
        where = self.by_field.get(known, self.path)
        return where if where.startswith("--") and known == dotted else f"{where}: {on_a_line(dotted)}"

    def nearest(self, dotted: str, known: Iterable[str]) -> str:
        """What was probably meant by the last part of a field, spelled as where it was set."""
        name = dotted.rpartition(".")[2]
        return nearest(name, map(spell_option, known) if self.of(dotted).startswith("--") else known)


def build(name: str, content: dict[str, Any], origins: Origins) -> Recipe:
    """A recipe of its content, every field of which is checked."""
    hints = hints_of(Recipe) | {"tests": list[dict[str, Any]]}
    del hints["name"]
    check_fields(content, hints, "", origins)
    for required in (item.name for item in fields(Recipe) if item.default is item.default_factory is MISSING):
        if required != "name" and not content.get(required):
            raise ValueError(f"{origins.path}: the field {required} is missing.")
    for section, described_by in SECTIONS.items():
        of_section = {key: hint for key, hint in hints_of(described_by).items() if key not in hints}
        check_fields(content[section], of_section, f"{section}.", origins)
    if content["lora"]:
        check_fields(content["lora"], adapter_fields(), "lora.", origins)
    check_stages(content, origins)
    content["stages"] = {stage: content["stages"][stage] for stage in content["run"]}
    if "tests" in content:
        content["tests"] = [system_test(test, number, origins) for number, test in enumerate(content["tests"])]
    try:
        Provenance(remarks=content["card"])
    except ValueError as error:
        raise ValueError(f"{origins.of('card')}: {error}") from error
    return Recipe(name=name, **content)


def check_stages(content: Mapping[str, Any], origins: Origins) -> None:
    """Refuses a stage of a type that there is not, or with a wrong field, and one to run that is not described."""
    for stage, given in content["stages"].items():
        kind = given.get("type")
        if not isinstance(kind, str) or kind not in STAGES:
            dotted = f"stages.{stage}.type"
            raise ValueError(f"{origins.of(dotted)} is {kind!r}{nearest(str(kind), STAGES)}")
        check_fields(given, {"type": str} | STAGES[kind].hints(), f"stages.{stage}.", origins)
        for section, described_by in STAGES[kind].sections.items():
            check_fields(given.get(section, {}), hints_of(described_by), f"stages.{stage}.{section}.", origins)
    for stage in content["run"]:
        if stage not in content["stages"]:
            raise ValueError(f"{origins.of('run')} has a stage {stage!r}{nearest(stage, content['stages'])}")


def system_test(content: dict[str, Any], number: int, origins: Origins) -> SystemTest:
    check_fields(content, hints_of(SystemTest), f"tests.{number}.", origins)
    if missing := {"setting", "shots"} - content.keys():
        raise ValueError(f"{origins.of(f'tests.{number}')} lacks {', '.join(sorted(missing))}.")
    return SystemTest(**content)


def hints_of(described_by: type) -> dict[str, Any]:
    """The fields of a dataclass and their types; those that cannot be told at run time take anything."""
    settable = {name: hint for name, hint in written_types(described_by).items() if name not in NOT_SET}
    return {name: Any if isinstance(hint, str) else hint for name, hint in settable.items()}


def check_fields(content: Mapping[str, Any], hints: Mapping[str, Any], at: str, origins: Origins) -> None:
    """Refuses a field that there is not, or a value of another type or out of range."""
    for name, value in content.items():
        if name not in hints:
            raise ValueError(f"{origins.of(at + name)} is no field{origins.nearest(at + name, hints)}")
        check_value(origins.of(at + name), name, value, hints[name])


def check_value(where: str, name: str, value: Any, hint: Any) -> None:
    bounded: Any = Annotated[hint, RANGE_OF[name]] if name in RANGE_OF else hint
    try:
        TypeAdapter(bounded, config=STRICT).validate_python(value)
    except ValidationError as error:
        reasons = dict.fromkeys(reason["msg"].removeprefix("Input ") for reason in error.errors())
        example = f", such as [{on_a_line(value)}]" if isinstance(value, str) and "list" in str(hint) else ""
        raise ValueError(f"{where} is {value!r}, but {' or '.join(reasons)}{example}.") from None


def as_option(dotted: str) -> str:
    """A field as it is set on the command line."""
    return f"--{spell_option(dotted)}"


def spell_option(name: str) -> str:
    return name.replace("_", "-")


def on_a_line(text: Any) -> str:
    """A key or a text as Python writes it, without the quotation marks."""
    return repr(str(text))[1:-1]


def nearest(name: str, known: Iterable[str]) -> str:
    """What was probably meant, else what there is."""
    known = sorted(map(on_a_line, known))
    if close := get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}." if len(known) < 40 else "."
