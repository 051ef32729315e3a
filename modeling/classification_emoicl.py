"""The paper's classifiers: speech encoder -> transformer -> attentive pooling (-> enrollment) -> softmax."""

# As in all of transformers, what a call may leave out is None in the signature and a tensor where it is used.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false, reportOptionalSubscript=false

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.models.whisper.modeling_whisper import WhisperAttention, WhisperEncoderLayer
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .configuration_emoicl import EmoIclClassifierConfig
from .pretrained_emoicl import EmoIclPreTrainedModel, check_inputs
from .speech_encoder_emoicl import build_speech_encoder


class EmoIclUtteranceEncoder(PreTrainedModel):
    r"""
    One vector for an utterance of any length: `h = AttentivePooling(TransformerEnc(H))` (the paper, classifier). The
    pooling weighs frames as Lin et al. (A Structured Self-attentive Sentence Embedding, 2017) do.

    Args:
        config ([`EmoIclClassifierConfig`]): Sizes of the speech encoder and the classifier.
    """

    config_class = EmoIclClassifierConfig
    main_input_name = "speech_features"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["WhisperEncoderLayer"]
    _can_record_outputs = {"hidden_states": WhisperEncoderLayer, "attentions": WhisperAttention}

    def __init__(self, config: EmoIclClassifierConfig):
        super().__init__(config)
        # As in the Q-Former of the speech language model, and for the same reason.
        self.feature_scale = nn.Parameter(torch.ones(config.speech_feature_size))
        self.feature_shift = nn.Parameter(torch.zeros(config.speech_feature_size))
        self.dropout = nn.Dropout(config.feature_dropout)
        self.projection = nn.Linear(config.speech_feature_size, config.hidden_size)
        self.layers = nn.ModuleList(WhisperEncoderLayer(config) for _ in range(config.num_hidden_layers))  # pyright: ignore[reportArgumentType]
        self.layer_norm = nn.LayerNorm(config.hidden_size)
        # A bias would shift all weights alike, to no effect.
        self.frame_weight = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size), nn.Tanh(), nn.Linear(config.hidden_size, 1, bias=False)
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, EmoIclUtteranceEncoder):
            init.ones_(module.feature_scale)
            init.zeros_(module.feature_shift)

    @capture_outputs
    def forward(self, speech_features: torch.Tensor, mask: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """
        Args:
            speech_features (`torch.Tensor` of shape `(num_utterances, num_feature_frames, speech_feature_size)`):
                Output of the speech encoder.
            mask (`torch.Tensor` of shape `(num_utterances, num_feature_frames)`): 1 for real frames.

        Returns:
            [`BaseModelOutputWithPooling`]: `pooler_output` of shape `(num_utterances, hidden_size)`.
        """
        features = speech_features.to(self.feature_scale.dtype) * self.feature_scale + self.feature_shift
        hidden_states = self.projection(self.dropout(features))
        attention_mask = create_bidirectional_mask(self.config, hidden_states, mask)
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask)
        hidden_states = self.layer_norm(hidden_states)
        weights = self.frame_weight(hidden_states).masked_fill(mask[..., None] == 0, float("-inf")).softmax(1)
        return BaseModelOutputWithPooling(hidden_states, pooler_output=(weights * hidden_states).sum(1))


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
        self.config = config
        self.label_embeddings = nn.Embedding(len(config.enrollment_labels), config.hidden_size)
        self.no_enrollment = nn.Parameter(torch.zeros(config.hidden_size))
        self.attention = WhisperAttention(
            config.hidden_size,
            config.num_attention_heads,
            config.dropout,
            config=config,  # pyright: ignore[reportArgumentType]
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
        present = nn.functional.pad(shot_mask, (1, 0), value=True)
        query = target[:, None]
        attention_mask = create_bidirectional_mask(self.config, query, present, encoder_hidden_states=shots)
        context, *_ = self.attention(query, key_value_states=shots, attention_mask=attention_mask)
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
    base_model_prefix = "speech_encoder"
    main_input_name = "input_features"
    input_modalities = ["audio"]
    _no_split_modules = ["EmoIclEnrollmentAttention"]

    def __init__(self, config: EmoIclClassifierConfig):
        super().__init__(config)
        self.speech_encoder = build_speech_encoder(config.speech_config, normalize=config.speech_layer is None)
        self.utterance_encoder = EmoIclUtteranceEncoder(config)
        self.enrollment_attention = EmoIclEnrollmentAttention(config) if config.enrollment_labels else None
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, EmoIclEnrollmentAttention):
            init.normal_(module.no_enrollment, mean=0.0, std=self.config.initializer_range)

    def get_audio_features(
        self,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        speech_features: torch.Tensor | None = None,
        speech_features_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPooling:
        """All that is computed for an utterance on its own; the arguments are those of `forward`.

        Returns:
            [`BaseModelOutputWithPooling`]: `pooler_output` of shape `(num_utterances, hidden_size)`.
        """
        features, mask = self.speech_features_of(
            input_features, input_features_mask, speech_features, speech_features_mask
        )
        return self.utterance_encoder(features, mask, return_dict=True, **kwargs)

    @can_return_tuple
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
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        r"""
        Args:
            input_features (`torch.Tensor` of shape `(num_utterances, feature_size, num_frames)`, *optional*):
                What the speech encoder reads (log-mel features, filterbanks or waveforms), each utterance once.
            input_features_mask (`torch.Tensor` of shape `(num_utterances, num_frames)`, *optional*):
                1 for real frames.
            speech_features (`torch.Tensor` of shape `(num_utterances, num_feature_frames, speech_feature_size)`,
                *optional*): Speech encoder output in place of `input_features`.
            speech_features_mask (`torch.Tensor` of shape `(num_utterances, num_feature_frames)`, *optional*):
                1 for real frames.
            utterance_embeds (`torch.Tensor` of shape `(num_utterances, hidden_size)`, *optional*):
                `pooler_output` of `get_audio_features` in place of all of the above.
            utterance_index (`torch.Tensor` of shape `(batch_size, num_shots + 1)`, *optional*):
                Rows of the features for the enrollment of each target, and last for the target; -1 for absent shots.
                By default every row is a target without enrollment.
            enrollment_label_ids (`torch.Tensor` of shape `(batch_size, num_shots)`, *optional*):
                Place of each shot's label in `config.enrollment_labels`; anything for absent shots.
            labels (`torch.Tensor` of shape `(batch_size,)`, *optional*): Number of each target's label.
            output_attentions, output_hidden_states (`bool`, *optional*):
                Whether to return those of the layers above the speech encoder; none with `utterance_embeds`.

        Returns:
            [`SequenceClassifierOutput`]: `logits` of shape `(batch_size, num_labels)`, and the `loss`, the cross
            entropy, if there are `labels`.

        Raises:
            ValueError: If a classifier without `enrollment_labels` is given an enrollment.
        """
        hidden_states = attentions = None
        if utterance_embeds is None:
            encoded = self.get_audio_features(
                input_features,
                input_features_mask,
                speech_features,
                speech_features_mask,
                **self.recorded_outputs(output_attentions, output_hidden_states),
            )
            utterance_embeds, hidden_states = encoded.pooler_output, encoded.hidden_states
            attentions = encoded.attentions
        if utterance_index is None:
            utterance_index = torch.arange(len(utterance_embeds), device=utterance_embeds.device)[:, None]
        target = utterance_embeds[utterance_index[:, -1]]
        shot_rows = utterance_index[:, :-1]
        if self.enrollment_attention is not None:
            if enrollment_label_ids is None:
                enrollment_label_ids = torch.zeros_like(shot_rows)
            target = self.enrollment_attention(
                target, utterance_embeds[shot_rows.clamp(min=0)], enrollment_label_ids, shot_rows >= 0
            )
        else:
            check_inputs(
                shot_rows < 0, lambda: "This classifier takes no enrollment: its `config.enrollment_labels` is None."
            )
        logits = self.classifier(self.dropout(target))
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss, logits, hidden_states, attentions)


__all__ = ["EmoIclForAudioClassification"]
