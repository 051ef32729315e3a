"""The paper's classifiers: speech encoder -> transformer -> attentive pooling (-> enrollment) -> softmax."""

# As in all of transformers, what a call may leave out is None in the signature and a tensor where it is used.
# pyright: reportArgumentType=false

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_emoicl import EmoIclClassifierConfig
from .modeling_emoicl import EmoIclPreTrainedModel
from .speech_encoder_emoicl import build_speech_encoder


class EmoIclUtteranceEncoder(nn.Module):
    r"""
    One vector for an utterance of any length: `h = AttentivePooling(TransformerEnc(H))` (the paper, classifier). The
    pooling weighs frames as Lin et al. (A Structured Self-attentive Sentence Embedding, 2017) do.

    Args:
        config ([`EmoIclClassifierConfig`]): Sizes of the speech encoder and the classifier.
    """

    def __init__(self, config: EmoIclClassifierConfig):
        super().__init__()
        # As in the Q-Former of the speech language model, and for the same reason.
        self.feature_scale = nn.Parameter(torch.ones(config.speech_config.hidden_size))
        self.feature_shift = nn.Parameter(torch.zeros(config.speech_config.hidden_size))
        self.dropout = nn.Dropout(config.feature_dropout)
        self.projection = nn.Linear(config.speech_config.hidden_size, config.hidden_size)
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
        self.layer_norm = nn.LayerNorm(config.hidden_size)
        # A bias would shift all weights alike, to no effect.
        self.frame_weight = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size), nn.Tanh(), nn.Linear(config.hidden_size, 1, bias=False)
        )

    def forward(self, speech_features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features = speech_features.to(self.feature_scale.dtype) * self.feature_scale + self.feature_shift
        hidden_states = self.projection(self.dropout(features))
        for layer in self.layers:
            hidden_states = layer(hidden_states, src_key_padding_mask=mask == 0)
        hidden_states = self.layer_norm(hidden_states)
        weights = self.frame_weight(hidden_states).masked_fill(mask[..., None] == 0, float("-inf")).softmax(1)
        return (weights * hidden_states).sum(1)


class EmoIclEnrollmentAttention(nn.Module):
    r"""
    What the target takes from the enrollment: attention of its vector over those of the enrollment, to which the
    embeddings of their labels are added. A learned vector is always among what can be attended to; without
    enrollment, it is all there is.

    Args:
        config ([`EmoIclClassifierConfig`]): Sizes of the classifier, with `enrollment_labels`.
    """

    def __init__(self, config: EmoIclClassifierConfig):
        super().__init__()
        self.label_embeddings = nn.Embedding(len(config.enrollment_labels), config.hidden_size)
        self.no_enrollment = nn.Parameter(torch.zeros(config.hidden_size))
        self.attention = nn.MultiheadAttention(
            config.hidden_size, config.num_attention_heads, config.dropout, batch_first=True
        )
        self.fusion = nn.Linear(2 * config.hidden_size, config.hidden_size)

    def forward(
        self, target: torch.Tensor, shots: torch.Tensor, label_ids: torch.Tensor, shot_mask: torch.Tensor
    ) -> torch.Tensor:
        """
        Args:
            target (`torch.Tensor` of shape `(batch_size, hidden_size)`): Vectors of the targets.
            shots (`torch.Tensor` of shape `(batch_size, num_shots, hidden_size)`): Vectors of the enrollment.
            label_ids (`torch.Tensor` of shape `(batch_size, num_shots)`): Places of its labels.
            shot_mask (`torch.Tensor` of shape `(batch_size, num_shots)`): True for shots that are there.

        Returns:
            `torch.Tensor` of shape `(batch_size, hidden_size)`.
        """
        shots = shots + self.label_embeddings(label_ids.masked_fill(~shot_mask, 0))
        shots = torch.cat([self.no_enrollment.expand(len(target), 1, -1).to(shots.dtype), shots], dim=1)
        absent = nn.functional.pad(~shot_mask, (1, 0), value=False)
        context, _ = self.attention(target[:, None], shots, shots, key_padding_mask=absent, need_weights=False)
        return nn.functional.gelu(self.fusion(torch.cat([target, context[:, 0]], dim=-1)))


class EmoIclForAudioClassification(EmoIclPreTrainedModel):
    r"""
    The emotion of an utterance by the paper's classifiers: `P(y | X) = Softmax(Linear(h))`. With
    `config.enrollment_labels` utterances of the speaker join the input: a neutral one (*Personalized_N*, after
    Triantafyllopoulos, Liu and Schuller, ICME 2021), or one of each emotion, which the target attends to
    (*Personalized_A*, after Triantafyllopoulos and Schuller, Interspeech 2024). Such a model answers without any
    enrollment too: a learned vector then stands in its place, so that some training items should have none.

    Args:
        config ([`EmoIclClassifierConfig`]): Sizes of the parts, the labels and those of the enrollment.
    """

    config_class = EmoIclClassifierConfig
    main_input_name = "input_features"
    input_modalities = ["audio"]
    supports_gradient_checkpointing = False

    def __init__(self, config: EmoIclClassifierConfig):
        super().__init__(config)
        self.speech_encoder = build_speech_encoder(config.speech_config, normalize=config.speech_layer is None)
        self.utterance_encoder = EmoIclUtteranceEncoder(config)
        self.enrollment_attention = EmoIclEnrollmentAttention(config) if config.enrollment_labels else None
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()
        self.train()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, EmoIclUtteranceEncoder):
            init.ones_(module.feature_scale)
            init.zeros_(module.feature_shift)
        elif isinstance(module, EmoIclEnrollmentAttention):
            init.normal_(module.no_enrollment, mean=0.0, std=self.config.initializer_range)

    def embed_utterances(
        self,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        speech_features: torch.Tensor | None = None,
        speech_features_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """All that is computed for an utterance on its own; the arguments are those of `forward`.

        Returns:
            `torch.Tensor` of shape `(num_utterances, hidden_size)`.
        """
        if speech_features is None and input_features is None:
            raise ValueError(
                "The utterances are missing: give `input_features`, `speech_features` or `utterance_embeds`."
            )
        if speech_features is None:
            speech_features, speech_features_mask = self.get_speech_features(input_features, input_features_mask)
        return self.utterance_encoder(speech_features, speech_features_mask)

    def forward(
        self,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        speech_features: torch.Tensor | None = None,
        speech_features_mask: torch.Tensor | None = None,
        utterance_embeds: torch.Tensor | None = None,
        utterance_index: torch.Tensor | None = None,
        enrollment_label_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        r"""
        Args:
            input_features (`torch.Tensor` of shape `(num_utterances, feature_size, num_frames)`, *optional*):
                What the speech encoder reads (log-mel features, filterbanks or waveforms), each utterance once.
            input_features_mask (`torch.Tensor` of shape `(num_utterances, num_frames)`, *optional*):
                1 for real frames.
            speech_features (`torch.Tensor` of shape `(num_utterances, num_feature_frames, speech_hidden_size)`,
                *optional*): Speech encoder output in place of `input_features`.
            speech_features_mask (`torch.Tensor` of shape `(num_utterances, num_feature_frames)`, *optional*):
                1 for real frames.
            utterance_embeds (`torch.Tensor` of shape `(num_utterances, hidden_size)`, *optional*):
                Output of `embed_utterances` in place of all of the above.
            utterance_index (`torch.Tensor` of shape `(batch_size, num_shots + 1)`, *optional*):
                Rows of the features for the enrollment of each target, and last for the target; -1 for absent shots.
                By default every row is a target without enrollment.
            enrollment_label_ids (`torch.Tensor` of shape `(batch_size, num_shots)`, *optional*):
                Place of each shot's label in `config.enrollment_labels`; anything for absent shots.
            labels (`torch.Tensor` of shape `(batch_size,)`, *optional*): Number of each target's label.

        Returns:
            [`SequenceClassifierOutput`]: `logits` of shape `(batch_size, num_labels)`, and the `loss`, the cross
            entropy, if there are `labels`.

        Raises:
            ValueError: If a classifier without `enrollment_labels` is given an enrollment.
        """
        if utterance_embeds is None:
            utterance_embeds = self.embed_utterances(
                input_features, input_features_mask, speech_features, speech_features_mask
            )
        if utterance_index is None:
            utterance_index = torch.arange(len(utterance_embeds), device=utterance_embeds.device)[:, None]
        embeds = utterance_embeds[utterance_index[:, -1]]
        shot_rows = utterance_index[:, :-1]
        if self.enrollment_attention is not None:
            if enrollment_label_ids is None:
                enrollment_label_ids = torch.zeros_like(shot_rows)
            embeds = self.enrollment_attention(
                embeds, utterance_embeds[shot_rows.clamp(min=0)], enrollment_label_ids, shot_rows >= 0
            )
        elif (shot_rows >= 0).any():
            raise ValueError("This classifier takes no enrollment: its `config.enrollment_labels` is None.")
        logits = self.classifier(self.dropout(embeds))
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


__all__ = ["EmoIclForAudioClassification"]
