"""What stands between the speech encoder and the language model: the Q-Former, or the voice embedding as a token."""

import torch
from torch import nn
from transformers import AutoModel

from .configuration_emoicl import EmoIclConfig
from .lengths_emoicl import by_length


class EmoIclQFormer(nn.Module):
    r"""
    Turns an utterance of any length into a fixed number of query tokens: `U = QFormer(Q, H)` (the paper, speech LM).

    Args:
        config ([`EmoIclConfig`]): Sizes of the speech encoder and the Q-Former.
        text_hidden_size (`int`): Width of the language model's embeddings.
    """

    def __init__(self, config: EmoIclConfig, text_hidden_size: int):
        super().__init__()
        # Not a layer normalization: a few dimensions of pretrained encoders are so large that they would set its scale
        # for all others, frame by frame.
        self.feature_scale = nn.Parameter(torch.ones(config.speech_feature_size))
        self.feature_shift = nn.Parameter(torch.zeros(config.speech_feature_size))
        self.dropout = nn.Dropout(config.feature_dropout)
        self.query_tokens = nn.Parameter(torch.zeros(config.num_query_tokens, config.qformer_config.hidden_size))
        self.qformer = AutoModel.from_config(config.qformer_config)
        self.projection = nn.Linear(config.qformer_config.hidden_size, text_hidden_size)

    def forward(self, speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            speech_features (`torch.Tensor` of shape `(num_utterances, num_feature_frames, speech_feature_size)`):
                Output of the speech encoder.
            mask (`torch.Tensor` of shape `(num_utterances, num_feature_frames)`): 1 for real frames.

        Returns:
            `torch.Tensor` of shape `(num_utterances, num_query_tokens, text_hidden_size)`.
        """
        return self.projection(by_length(self.query, speech_features, mask, axis=1))

    def query(self, speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The query tokens in the width of the Q-Former."""
        features = speech_features.to(self.feature_scale.dtype) * self.feature_scale + self.feature_shift
        return self.qformer(
            query_embeds=self.query_tokens.expand(len(features), -1, -1),
            encoder_hidden_states=self.dropout(features),
            encoder_attention_mask=mask,
        ).last_hidden_state


class EmoIclVoiceToken(nn.Module):
    r"""
    Turns the voice embedding of an utterance into one token. It is what a Q-Former comes to whose only frame is the
    voice embedding: attention over one frame is 1.

    Args:
        size (`int`): Number of dimensions of the voice embeddings that it holds, the first ones.
        text_hidden_size (`int`): Width of the language model's embeddings.
    """

    def __init__(self, size: int, text_hidden_size: int):
        super().__init__()
        self.feature_scale = nn.Parameter(torch.ones(size))
        self.projection = nn.Linear(size, text_hidden_size)

    def forward(self, voice_embeds: torch.Tensor) -> torch.Tensor:
        """
        Args:
            voice_embeds (`torch.Tensor` of shape `(num_utterances, num_sources * size)`):
                Voice embeddings, of which those of all sources as one come first.

        Returns:
            `torch.Tensor` of shape `(num_utterances, 1, text_hidden_size)`.
        """
        heard = voice_embeds[:, : len(self.feature_scale)].to(self.feature_scale.dtype)
        return self.projection(heard * self.feature_scale)[:, None]


__all__ = ["EmoIclQFormer", "EmoIclVoiceToken"]
