"""Speech encoders for utterances of any length: the paper's own, Whisper's unpadded, and all by name."""

from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, WhisperConfig
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import (
    WhisperAttention,
    WhisperEncoder,
    WhisperEncoderLayer,
    sinusoids,
)
from transformers.utils.output_capturing import capture_outputs

from .configuration_emoicl import EmoIclSpeechEncoderConfig
from .self_supervised_encoder_emoicl import (
    EmoIclHubertEncoder,
    EmoIclWav2Vec2BertEncoder,
    EmoIclWav2Vec2Encoder,
    EmoIclWavLMEncoder,
)


class SpeechEncoder(Protocol):
    r"""
    What the models ask of a speech encoder, beside its being a [`PreTrainedModel`]. A new one is a class that has
    this, and a line in `SPEECH_ENCODERS`.

    Attributes:
        input_type (`str`):
            What it reads, the field of that name of [`EmoIclFeatureExtractor`]: `"log_mel"`, `"filterbank"` or
            `"waveform"`.
        final_norm (`str`, *optional*):
            Name of the normalization after the last layer, which a middle layer's output does without. `None` if
            there is none.
        checkpoint_key_mapping (`dict[str, str]`):
            From the names of weights in published checkpoints, as regular expressions, to its own.
    """

    config: Any
    input_type: ClassVar[str]
    checkpoint_key_mapping: ClassVar[dict[str, str]]

    @property
    def final_norm(self) -> str | None: ...

    def feature_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Which frames of its output are real, `(batch_size, num_feature_frames)`, from the mask of its input."""
        ...

    def __call__(self, input_features: torch.Tensor, attention_mask: torch.Tensor, **kwargs: Any) -> BaseModelOutput:
        """Features of utterances, the same for an utterance alone and in a batch.

        Args:
            input_features (`torch.Tensor` of shape `(batch_size, feature_size, num_frames)`): What it reads.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 1 for real frames, 0 for padding.

        Returns:
            [`BaseModelOutput`]: `last_hidden_state` of shape `(batch_size, num_feature_frames, hidden_size)`.
        """
        ...


def halve_mask(mask: torch.Tensor) -> torch.Tensor:
    """The mask after a stride of 2 with centered windows of 3 frames: `n` real frames become `ceil(n / 2)`."""
    return mask[:, ::2]


class EmoIclSpeechEncoder(PreTrainedModel):
    r"""
    The paper's speech encoder: two convolution and max-pooling layers, each halving the frame rate, then transformer
    layers (its set-up). 10 ms log-mel frames become one vector every 40 ms.

    Args:
        config ([`EmoIclSpeechEncoderConfig`]): Sizes of the encoder.
    """

    config_class = EmoIclSpeechEncoderConfig
    base_model_prefix = "speech_encoder"
    main_input_name = "input_features"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["WhisperEncoderLayer"]
    _can_record_outputs = {"hidden_states": WhisperEncoderLayer, "attentions": WhisperAttention}
    input_type = "log_mel"
    final_norm = "layer_norm"
    checkpoint_key_mapping: dict[str, str] = {}

    def __init__(self, config: EmoIclSpeechEncoderConfig):
        super().__init__(config)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, config.hidden_size, kernel_size=3, padding=1)
            for channels in (config.num_mel_bins, config.hidden_size)
        )
        self.layers = nn.ModuleList(WhisperEncoderLayer(config) for _ in range(config.num_hidden_layers))  # pyright: ignore[reportArgumentType]
        self.layer_norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        # At the usual scale of transformers' weights, what is heard would drown in the positions that are added to it.
        if isinstance(module, nn.Conv1d):
            init.kaiming_normal_(module.weight)

    def feature_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Mask of the features `(batch_size, ceil(num_frames / 4))` from that of the log-mel frames."""
        return halve_mask(halve_mask(mask))

    @capture_outputs
    def forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor, **kwargs) -> BaseModelOutput:
        """
        Args:
            input_features (`torch.Tensor` of shape `(batch_size, num_mel_bins, num_frames)`): Log-mel features.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 1 for real frames, 0 for padding.

        Returns:
            [`BaseModelOutput`]: `last_hidden_state` of shape `(batch_size, ceil(num_frames / 4), hidden_size)`.
        """
        hidden_states, mask = input_features, attention_mask
        for convolution in self.convolutions:
            hidden_states = nn.functional.gelu(convolution(hidden_states * mask[:, None]))
            # gelu is above -0.17, so that the zeros of the padding could win a maximum.
            hidden_states = hidden_states.masked_fill(mask[:, None] == 0, torch.finfo(hidden_states.dtype).min)
            hidden_states = nn.functional.max_pool1d(hidden_states, kernel_size=2, stride=2, ceil_mode=True)
            mask = halve_mask(mask)
        hidden_states = (hidden_states * mask[:, None]).transpose(1, 2)
        positions = sinusoids(hidden_states.shape[1], self.config.hidden_size).to(hidden_states)
        hidden_states = hidden_states + positions
        layer_mask = create_bidirectional_mask(self.config, hidden_states, mask)
        for layer in self.layers:
            hidden_states = layer(hidden_states, layer_mask)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden_states))


class EmoIclWhisperEncoder(WhisperEncoder):
    r"""
    Whisper's encoder for utterances of any length up to 30 s: positions are sliced and padding is masked, so that an
    utterance gives the same features alone and in a batch.

    Args:
        config (`WhisperConfig`): Configuration of the Whisper model; `encoder_layers` layers are built.
    """

    config: WhisperConfig
    input_type = "log_mel"
    final_norm = "layer_norm"
    checkpoint_key_mapping = {r"^(model\.)?encoder\.": ""}

    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        # Whisper does so for the encoder as a whole, which transformers passes by in a class that is not its own.
        if isinstance(module, nn.Embedding):
            init.copy_(module.weight, sinusoids(*module.weight.shape))

    def feature_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Mask of the features `(batch_size, ceil(num_frames / 2))` from that of the log-mel frames."""
        return halve_mask(mask)

    @capture_outputs
    def forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor, **kwargs) -> BaseModelOutput:
        """
        Args:
            input_features (`torch.Tensor` of shape `(batch_size, num_mel_bins, num_frames)`): Log-mel features.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 1 for real frames, 0 for padding.

        Returns:
            [`BaseModelOutput`]: `last_hidden_state` of shape `(batch_size, ceil(num_frames / 2), d_model)`.

        Raises:
            ValueError: If an utterance is longer than Whisper's positions reach.
        """
        hidden_states = nn.functional.gelu(self.conv1(input_features))
        # Beyond the end stand zeros, as the second convolution sees them for an utterance alone.
        hidden_states = nn.functional.gelu(self.conv2(hidden_states * attention_mask[:, None]))
        hidden_states = hidden_states.transpose(1, 2)
        num_positions = self.embed_positions.num_embeddings
        if hidden_states.shape[1] > num_positions:
            raise ValueError(
                f"An utterance has {input_features.shape[-1]} frames; this encoder has positions for "
                f"{2 * num_positions} (10 ms each). Cut the recording into shorter utterances."
            )
        # By a call, not from the weight: where the model is offloaded, a call is what brings the weight here.
        positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        hidden_states = hidden_states + self.embed_positions(positions)
        mask = create_bidirectional_mask(self.config, hidden_states, self.feature_mask(attention_mask))
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden_states))


SPEECH_ENCODERS: dict[str, type] = {
    "emoicl_speech_encoder": EmoIclSpeechEncoder,
    "hubert": EmoIclHubertEncoder,
    "wav2vec2": EmoIclWav2Vec2Encoder,
    "wav2vec2-bert": EmoIclWav2Vec2BertEncoder,
    "wavlm": EmoIclWavLMEncoder,
    "whisper": EmoIclWhisperEncoder,
}


def check_speech_encoder(config: PreTrainedConfig) -> None:
    """Raises a `ValueError` that names the supported types, if that of the speech encoder is none of them."""
    if config.model_type not in SPEECH_ENCODERS:
        raise ValueError(
            f"Speech encoders of type {config.model_type!r} are not supported; supported are "
            f"{', '.join(sorted(SPEECH_ENCODERS))}."
        )


def build_speech_encoder(config: PreTrainedConfig, normalize: bool = True) -> Any:
    """Builds the speech encoder of a configuration, with random weights.

    Args:
        config (`PreTrainedConfig`): Configuration of a supported speech encoder.
        normalize (`bool`, *optional*, defaults to `True`):
            Whether its final normalization, where it has one, is applied. A middle layer's output does without.

    Returns:
        `PreTrainedModel`: one of `SPEECH_ENCODERS`, a [`SpeechEncoder`].

    Raises:
        ValueError: If the type of the speech encoder is not supported.
    """
    check_speech_encoder(config)
    encoder = SPEECH_ENCODERS[config.model_type](config)
    if not normalize and encoder.final_norm is not None:
        encoder.set_submodule(encoder.final_norm, nn.Identity())
    return encoder


__all__ = [
    "EmoIclSpeechEncoder",
    "EmoIclWhisperEncoder",
    "SpeechEncoder",
    "build_speech_encoder",
    "check_speech_encoder",
]
