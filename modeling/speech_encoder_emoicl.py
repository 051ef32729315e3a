"""Speech encoders for utterances of any length: the paper's own, Whisper's without padding to 30 s, and all by name.

Each has, beside `forward`, the `input_type` that it reads (a field of the feature extractor), `feature_mask`, which
tells from the mask of its input which frames of its output are real, and `checkpoint_key_mapping`, from the names of
weights in published checkpoints to its own.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, WhisperConfig
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder, sinusoids

from .configuration_emoicl import EmoIclSpeechEncoderConfig
from .self_supervised_encoder_emoicl import (
    EmoIclHubertEncoder,
    EmoIclWav2Vec2BertEncoder,
    EmoIclWav2Vec2Encoder,
    EmoIclWavLMEncoder,
)


def halve_mask(mask: torch.Tensor) -> torch.Tensor:
    """The mask after a stride of 2 with centered windows of 3 frames: `n` real frames become `ceil(n / 2)`."""
    return mask[:, ::2]


class EmoIclSpeechEncoder(PreTrainedModel):
    r"""
    The paper's speech encoder: two convolution and max-pooling layers, each halving the frame rate, then transformer
    layers (its set-up). 10 ms log-mel frames become one vector every 40 ms.

    Args:
        config ([`EmoIclSpeechEncoderConfig`]): Sizes of the encoder.
        normalize (`bool`, *optional*, defaults to `True`):
            Whether the final layer normalization is applied. A middle layer has none.
    """

    config_class = EmoIclSpeechEncoderConfig
    base_model_prefix = "speech_encoder"
    main_input_name = "input_features"
    _supports_sdpa = True
    input_type = "log_mel"
    checkpoint_key_mapping: dict[str, str] = {}

    def __init__(self, config: EmoIclSpeechEncoderConfig, normalize: bool = True):
        super().__init__(config)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, config.hidden_size, kernel_size=3, padding=1)
            for channels in (config.num_mel_bins, config.hidden_size)
        )
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.hidden_size,
                config.num_attention_heads,
                config.intermediate_size,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.num_hidden_layers)
        )
        self.layer_norm = nn.LayerNorm(config.hidden_size) if normalize else nn.Identity()
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
        for layer in self.layers:
            hidden_states = layer(hidden_states, src_key_padding_mask=mask == 0)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden_states))


class EmoIclWhisperEncoder(WhisperEncoder):
    r"""
    Whisper's encoder for utterances of any length up to 30 s: positions are sliced and padding is masked, so that an
    utterance gives the same features alone and in a batch.

    Args:
        config (`WhisperConfig`): Configuration of the Whisper model; `encoder_layers` layers are built.
        normalize (`bool`, *optional*, defaults to `True`):
            Whether the final layer normalization is applied. A middle layer has none.
    """

    input_type = "log_mel"
    checkpoint_key_mapping = {r"^(model\.)?encoder\.": ""}

    def __init__(self, config: WhisperConfig, normalize: bool = True):
        super().__init__(config)
        if not normalize:
            self.layer_norm = nn.Identity()

    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        # Whisper does so for the encoder as a whole, which transformers passes by in a class that is not its own.
        if isinstance(module, nn.Embedding):
            init.copy_(module.weight, sinusoids(*module.weight.shape))

    def feature_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Mask of the features `(batch_size, ceil(num_frames / 2))` from that of the log-mel frames."""
        return halve_mask(mask)

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
        hidden_states = hidden_states + self.embed_positions.weight[: hidden_states.shape[1]]
        mask = create_bidirectional_mask(self.config, hidden_states, self.feature_mask(attention_mask))
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden_states))


SPEECH_ENCODERS: dict[str, Any] = {
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
        normalize (`bool`, *optional*, defaults to `True`): Whether its final layer normalization is applied.

    Returns:
        `PreTrainedModel`: one of `SPEECH_ENCODERS`.

    Raises:
        ValueError: If the type of the speech encoder is not supported.
    """
    check_speech_encoder(config)
    return SPEECH_ENCODERS[config.model_type](config, normalize=normalize)


__all__ = ["EmoIclSpeechEncoder", "EmoIclWhisperEncoder", "build_speech_encoder", "check_speech_encoder"]
