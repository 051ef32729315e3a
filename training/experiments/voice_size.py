"""How many dimensions voice embeddings have, which follows from the speech encoder unless a recipe says it."""

from typing import Annotated, Literal

from pydantic import Field
from transformers import AutoConfig

from emoicl.modeling.configuration_emoicl import size_of_speech_features
from emoicl.training.experiments.recipe import Recipe


# So many dimensions, or all that the speech encoder has.
Size = Annotated[int, Field(ge=1)] | Literal["all"]


def pretrained(recipe: Recipe) -> str:
    """Hub name or folder of the speech encoder.

    Raises:
        `ValueError`: If the recipe names none.
    """
    if recipe.speech_encoder is None:
        raise ValueError(
            f"The recipe {recipe.name} names no pretrained speech encoder: give one (--speech-encoder), such as the "
            "folder that `emoicl pretrain speech-encoder` wrote."
        )
    return recipe.speech_encoder


def pooled_size(recipe: Recipe) -> int:
    """Number of dimensions of an utterance's pooled features: mean and standard deviation."""
    config = AutoConfig.from_pretrained(pretrained(recipe), trust_remote_code=False)
    return 2 * size_of_speech_features(config, recipe.speech_layer)


def dimensions(size: Size) -> int | None:
    """A size as [`EmoIclAdaptationConfig`] has it."""
    return None if size == "all" else size


def check_size(stage: str, size: Size, recipe: Recipe) -> None:
    """Refuses voice embeddings of more dimensions than what they are made of."""
    if size != "all" and size > (widest := pooled_size(recipe)):
        raise ValueError(
            f"stages.{stage}.size is {size}, but mean and standard deviation of {recipe.speech_encoder} have {widest} "
            f"dimensions: set {widest}, fewer, or all."
        )
