"""A pipeline -> a folder that holds all it takes to load it again, its code included."""

import os
from typing import Any

from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save


def save_pipeline(
    pipeline: Pipeline, save_directory: str | os.PathLike, task: str, auto_model: str, **kwargs: Any
) -> None:
    """
    Saves model, processor or feature extractor, and code of a pipeline, so that `pipeline(task, save_directory,
    trust_remote_code=True)` loads it where this package is absent. It works there too: transformers leaves processors
    away, and the code of pipelines that it has loaded from a folder.

    Args:
        pipeline ([`~transformers.Pipeline`]):
            The pipeline.
        save_directory (`str` or `os.PathLike`):
            Directory to save to. It is created if it does not exist.
        task (`str`):
            Task identifier that stands for the pipeline in this directory.
        auto_model (`str`):
            Name of the auto class that loads its model.
        kwargs (`dict[str, Any]`, *optional*):
            Passed to [`~transformers.PreTrainedModel.save_pretrained`].
    """
    implementation = f"{type(pipeline).__module__.rpartition('.')[2]}.{type(pipeline).__name__}"
    pipeline.model.config.custom_pipelines = {task: {"impl": implementation, "pt": [auto_model]}}
    pipeline.model.save_pretrained(save_directory, **kwargs)
    # A processor brings its feature extractor.
    processor: Any = pipeline.processor or pipeline.feature_extractor
    processor.save_pretrained(save_directory)
    custom_object_save(pipeline, save_directory)


__all__ = ["save_pipeline"]
