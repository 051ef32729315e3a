"""Self-supervised speech encoders for utterances of any length: wav2vec 2.0, HuBERT, WavLM and wav2vec2-BERT."""

from typing import Any

import torch
from torch import nn
from transformers import HubertModel, PreTrainedConfig, Wav2Vec2BertModel, Wav2Vec2Model, WavLMModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.output_capturing import capture_outputs


def drop_other_tasks(model: nn.Module) -> None:
    """Takes out what is no part of the encoder, in place: the vector of masked frames, and adapters after the end."""
    if hasattr(model, "masked_spec_embed"):
        del model.masked_spec_embed
    for name in ("adapter", "intermediate_ffn"):
        setattr(model, name, None)


class WaveformEncoderMixin:
    r"""
    What wav2vec 2.0, HuBERT and WavLM share: convolutions over the waveform, a convolution that tells positions apart,
    transformer layers. All up to the layers runs for each utterance at its real length. In a batch, the published
    models normalize over the padding too (the group normalization of their base sizes is over time), so that the
    features of an utterance would depend on those beside it.

    Args:
        config (`PreTrainedConfig`): Configuration of the whole model; `num_hidden_layers` layers are built.
    """

    input_type = "waveform"
    checkpoint_key_mapping: dict[str, str] = {}
    config: Any
    encoder: Any
    feature_extractor: Any
    feature_projection: Any

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)  # pyright: ignore[reportCallIssue]
        drop_other_tasks(self)  # pyright: ignore[reportArgumentType]

    @property
    def final_norm(self) -> str | None:
        """The other kind of layers, each of which ends in a normalization, has it before the first layer."""
        return "encoder.layer_norm" if self.config.do_stable_layer_norm else None

    def train(self, mode: bool = True) -> Any:
        """Switches between training and evaluation; the batch normalization that some HuBERT models have keeps its
        statistics, for here it sees one utterance at a time."""
        super().train(mode)  # pyright: ignore[reportAttributeAccessIssue]
        for module in self.encoder.pos_conv_embed.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    def feature_lengths(self, lengths: Any) -> Any:
        """Number of feature frames for each number of samples, an `int` or a tensor of any shape."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            lengths = (lengths - kernel) // stride + 1
        return lengths

    def feature_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Mask of the features `(batch_size, num_feature_frames)` from that of the samples `(batch_size, n)`."""
        frames = torch.arange(self.feature_lengths(mask.shape[1]), device=mask.device)
        return (frames < self.feature_lengths(mask.sum(1, keepdim=True))).to(mask.dtype)

    @capture_outputs
    def forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor, **kwargs) -> BaseModelOutput:
        """
        Args:
            input_features (`torch.Tensor` of shape `(batch_size, 1, n)`): Waveforms at 16 kHz.
            attention_mask (`torch.Tensor` of shape `(batch_size, n)`): 1 for real samples, 0 for padding.

        Returns:
            [`BaseModelOutput`]: `last_hidden_state` of shape `(batch_size, num_feature_frames, hidden_size)`.

        Raises:
            ValueError: If an utterance is shorter than one frame.
        """
        lengths = attention_mask.sum(1).tolist()
        if self.feature_lengths(min(lengths)) < 1:
            raise ValueError(
                f"An utterance has {min(lengths)} samples, fewer than one frame of this encoder takes. Leave it out."
            )
        mask = self.feature_mask(attention_mask)
        embedded = [self.embed(row[:, :length]) for row, length in zip(input_features, lengths, strict=True)]
        hidden_states = torch.stack(
            [nn.functional.pad(frames, (0, 0, 0, mask.shape[1] - len(frames))) for frames in embedded]
        )
        hidden_states = self.run_layers(hidden_states, mask)
        if self.config.do_stable_layer_norm:
            hidden_states = self.encoder.layer_norm(hidden_states)
        return BaseModelOutput(last_hidden_state=hidden_states)

    def embed(self, waveform: torch.Tensor) -> torch.Tensor:
        """Input of the first layer, `(num_feature_frames, hidden_size)`, for a waveform `(1, n)`."""
        projected = self.feature_projection(self.feature_extractor(waveform).transpose(1, 2))
        # All but HuBERT return what was projected too, for pretraining.
        hidden_states = projected[0] if isinstance(projected, tuple) else projected
        hidden_states = hidden_states + self.encoder.pos_conv_embed(hidden_states)
        if not self.config.do_stable_layer_norm:
            hidden_states = self.encoder.layer_norm(hidden_states)
        return self.encoder.dropout(hidden_states)[0]

    def run_layers(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        attention_mask = create_bidirectional_mask(self.config, hidden_states, mask)
        for layer in self.encoder.layers:
            hidden_states = layer(hidden_states, attention_mask=attention_mask)
        return hidden_states


class EmoIclWav2Vec2Encoder(WaveformEncoderMixin, Wav2Vec2Model):
    r"""wav2vec 2.0 (Baevski et al., 2020); see [`WaveformEncoderMixin`]."""


class EmoIclHubertEncoder(WaveformEncoderMixin, HubertModel):
    r"""HuBERT (Hsu et al., 2021); see [`WaveformEncoderMixin`]."""


class EmoIclWavLMEncoder(WaveformEncoderMixin, WavLMModel):
    r"""WavLM (Chen et al., 2022), whose layers share the first one's relative positions."""

    def run_layers(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        position_bias = None
        for layer in self.encoder.layers:
            hidden_states, position_bias = layer(hidden_states, attention_mask=mask, position_bias=position_bias)
        return hidden_states


class EmoIclWav2Vec2BertEncoder(Wav2Vec2BertModel):
    r"""
    The conformer of wav2vec2-BERT (Seamless Communication et al., 2023). Every layer ends in a normalization, so that
    a middle layer needs nothing taken away.

    Args:
        config (`Wav2Vec2BertConfig`): Configuration of the whole model; `num_hidden_layers` layers are built.
    """

    input_type = "filterbank"
    final_norm = None
    checkpoint_key_mapping: dict[str, str] = {}

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)  # pyright: ignore[reportArgumentType]
        drop_other_tasks(self)

    def feature_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """The mask itself: the encoder keeps the rate of its input, 20 ms."""
        return mask

    @capture_outputs
    def forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor, **kwargs) -> BaseModelOutput:
        """
        Args:
            input_features (`torch.Tensor` of shape `(batch_size, feature_size, num_frames)`): Filterbanks of 20 ms.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_frames)`): 1 for real frames, 0 for padding.

        Returns:
            [`BaseModelOutput`]: `last_hidden_state` of shape `(batch_size, num_frames, hidden_size)`.
        """
        hidden_states, _ = self.feature_projection(input_features.transpose(1, 2))
        return self.encoder(hidden_states, attention_mask=attention_mask)


__all__ = ["EmoIclHubertEncoder", "EmoIclWav2Vec2BertEncoder", "EmoIclWav2Vec2Encoder", "EmoIclWavLMEncoder"]
