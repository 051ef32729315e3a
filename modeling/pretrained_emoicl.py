"""What the speech language model and the classifiers share: loading, the frozen speech encoder, and its features."""

# As in all of transformers, what a call may leave out is None in the signature and a tensor where it is used.
# pyright: reportArgumentType=false, reportReturnType=false

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.utils.output_capturing import maybe_install_capturing_hooks

from .configuration_emoicl import EmoIclConfig
from .lengths_emoicl import by_length


# transformers (5.23) takes `model.language_model.model` for a mistake of older versions, and misses quantized weights
# and adapters that it renames so. It finds these names as well, and puts the prefix before them.
KEY_MAPPING = {r"^model\.language_model\.": "language_model."}


class EmoIclPreTrainedModel(PreTrainedModel):
    config_class = EmoIclConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ["audio", "text"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    @classmethod
    def from_pretrained(
        cls, *args: Any, output_loading_info: bool = False, ignore_mismatched_sizes: bool = False, **kwargs: Any
    ) -> Any:
        """Loads a checkpoint as [`~transformers.PreTrainedModel.from_pretrained`] does, but all of it or nothing.

        Raises:
            ValueError: If the checkpoint lacks weights, which would be random, has others than the model, or weights
                of other shapes without `ignore_mismatched_sizes`, or if a file of weights is damaged.
        """
        # Otherwise a mismatch would be raised without its names.
        kwargs |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        kwargs["key_mapping"] = KEY_MAPPING | (kwargs.get("key_mapping") or {})
        try:
            loaded: Any = super().from_pretrained(*args, **kwargs)
        except SafetensorError as error:
            checkpoint = kwargs.get("pretrained_model_name_or_path", *args[:1])
            files = ", ".join(damaged_weights(checkpoint)) or "a file of weights"
            raise ValueError(f"{checkpoint}: {files} is damaged ({error}); download it again.") from error
        model, info = loaded
        mismatched = () if ignore_mismatched_sizes else info["mismatched_keys"]
        for names, what in (
            (info["missing_keys"], "lacks {} weights of {}, which would be random"),
            (info["unexpected_keys"], "has {} weights that {} has no use for"),
            ([name for name, *_ in mismatched], "has {} weights of other shapes than {}"),
        ):
            if names:
                raise ValueError(
                    f"The checkpoint {what.format(len(names), cls.__name__)}, such as "
                    f"{', '.join(sorted(names)[:5])}. Is its configuration that of another model?"
                )
        # Loading makes all parameters anew, trainable.
        model.freeze_speech_encoder()
        never_pack(model)
        return (model, info) if output_loading_info else model

    def load_adapter(self, *args: Any, load_config: Any = None, **kwargs: Any) -> Any:
        """Loads an adapter of peft as [`~transformers.PreTrainedModel.load_adapter`] does, which of a decoder-only
        language model would find no weights and leave it without effect."""
        if load_config is None:
            kwargs.setdefault("weight_mapping", get_model_conversion_mapping(self, KEY_MAPPING))
        return super().load_adapter(*args, load_config=load_config, **kwargs)

    def save_pretrained(self, *args: Any, save_original_format: bool = False, **kwargs: Any) -> None:
        """Saves as [`~transformers.PreTrainedModel.save_pretrained`] does, under the names that weights have here. By
        default transformers would bring back those that it changed at loading, among which it counts (5.23)
        `model.language_model.model` of a decoder-only language model: what a Trainer resumes would lack them."""
        super().save_pretrained(*args, save_original_format=save_original_format, **kwargs)

    def post_init(self) -> None:
        """What transformers does when a model is built; then the speech encoder is frozen, if it is to be."""
        super().post_init()
        # Resuming a Trainer takes them for missing otherwise: tied weights are saved once.
        self._keys_to_ignore_on_save = set(self.all_tied_weights_keys)
        self.freeze_speech_encoder()
        if isinstance(self.config.speech_layer, list):
            # transformers does so at the first call that asks for them, which no compiler follows.
            maybe_install_capturing_hooks(self.get_encoder(modality="audio"))

    def freeze_speech_encoder(self) -> None:
        """Stops training the speech encoder where `config.freeze_speech_encoder` says so: when a model is built or
        loaded. `requires_grad_(True)` afterwards makes it trainable again, in evaluation mode."""
        if self.config.freeze_speech_encoder:
            self.get_encoder(modality="audio").requires_grad_(False).eval()

    @property
    def is_gradient_checkpointing(self) -> bool:
        """As of any model. Here, because peft asks by this name, and newer versions of transformers warn of it."""
        return any(getattr(module, "gradient_checkpointing", False) for module in self.modules())

    def train(self, mode: bool = True) -> Self:
        """Switches between training and evaluation; a frozen speech encoder stays in evaluation mode."""
        super().train(mode)
        if self.config.freeze_speech_encoder:
            self.get_encoder(modality="audio").eval()
        return self

    def get_speech_features(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Output of the speech encoder at `config.speech_layer`; of several layers, theirs side by side.

        Args:
            input_features (`torch.Tensor` of shape `(num_utterances, feature_size, num_frames)`):
                What the speech encoder reads: log-mel features, filterbanks or waveforms.
            input_features_mask (`torch.Tensor` of shape `(num_utterances, num_frames)`): 1 for real frames.

        Returns:
            `tuple`: features of shape `(num_utterances, num_feature_frames, speech_feature_size)` and their mask.
        """
        encoder: Any = self.get_encoder(modality="audio")
        layers = self.config.speech_layer

        def encode(input_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            output = encoder(
                input_features.to(encoder.dtype), attention_mask=mask, output_hidden_states=isinstance(layers, list)
            )
            if isinstance(layers, list):
                return torch.cat([output.hidden_states[layer] for layer in layers], dim=-1)
            return output.last_hidden_state

        features = by_length(encode, input_features, input_features_mask, axis=2)
        return features, encoder.feature_mask(input_features_mask)

    def speech_features_of(
        self,
        input_features: torch.Tensor | None,
        input_features_mask: torch.Tensor | None,
        speech_features: torch.Tensor | None,
        speech_features_mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The speech features that are given, else those of what the speech encoder reads.

        Raises:
            ValueError: If neither is given.
        """
        if speech_features is not None:
            return speech_features, speech_features_mask
        if input_features is None:
            raise ValueError(
                "The utterances are missing: give `input_features`, `speech_features` or their embeddings."
            )
        return self.get_speech_features(input_features, input_features_mask)

    def recorded_outputs(
        self, output_attentions: bool | None, output_hidden_states: bool | None
    ) -> dict[str, bool | None]:
        """What of the layers is to be returned: as asked for, else as the configuration says."""
        asked = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return {name: getattr(self.config, name) if flag is None else flag for name, flag in asked.items()}

    def _flash_attn_can_dispatch(self, *args: Any, **kwargs: Any) -> bool:
        raise ValueError(
            f'{type(self).__name__} runs with `attn_implementation` "sdpa" or "eager": flash attention cannot add the '
            "relative positions of T5-like language models, and transformers' Q-Former does without it."
        )


def never_pack(model: torch.nn.Module) -> None:
    """Leaves the weights of 4 bits of a model in the order in which they are saved. Those that bitsandbytes (0.50)
    packs at the first answer take no gradients, and are saved wrongly."""
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False  # pyright: ignore[reportAttributeAccessIssue]


def damaged_weights(folder: str | os.PathLike) -> list[str]:
    """Names of the files in a folder that should hold weights, but cannot be read."""
    damaged = []
    for path in sorted(Path(folder).glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError:
            damaged.append(path.name)
    return damaged


def check_inputs(holds: torch.Tensor, message: Callable[[], str]) -> None:
    """Raises a `ValueError` unless all of a tensor holds. In a compiled or exported graph, which cannot look at the
    numbers to say what is wrong, it is an assertion. (transformers' `torch_compilable_check` breaks `fullgraph`.)"""
    if torch.compiler.is_compiling():
        message_of_graph = "The inputs do not fit together. Without compiling, the error says why."
        torch._assert_async(holds.all(), message_of_graph)  # pyright: ignore[reportPrivateImportUsage]
    elif not holds.all():
        raise ValueError(message())


__all__ = ["EmoIclPreTrainedModel", "check_inputs", "never_pack"]
