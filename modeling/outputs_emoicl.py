"""What the parts of the speech language model return, beyond what transformers has a class for."""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.utils.generic import ModelOutput


@dataclass
class EmoIclAudioOutput(ModelOutput):
    r"""
    What the language model needs of each utterance; a speaker's enrollment is stored in this form.

    Args:
        query_embeds (`torch.Tensor` of shape `(num_utterances, num_query_tokens, text_hidden_size)`):
            Q-Former output in the width of the language model.
        voice_embeds (`torch.Tensor` of shape `(num_utterances, voice_size)`, *optional*):
            Voice embeddings, where the model has a speaker adaptation.
    """

    query_embeds: torch.Tensor | None = None
    voice_embeds: torch.Tensor | None = None


@dataclass
class EmoIclEncoderOutput(BaseModelOutput):
    r"""
    Output of the language model's encoder with what the enrollment says about each label.

    Args:
        label_tokens (`torch.Tensor` of shape `(batch_size, num_labels, num_label_tokens)`, *optional*):
            Labels that the evidence is about, padded with -100.
        label_evidence (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*):
            Evidence of the enrollment for each of these labels, -inf for rows to be passed over.
        language_model_weight (`torch.Tensor` of shape `(batch_size,)`, *optional*):
            What the language model counts beside the evidence: the less, the less it can be trusted for a prompt.
    """

    label_tokens: torch.Tensor | None = None
    label_evidence: torch.Tensor | None = None
    language_model_weight: torch.Tensor | None = None


@dataclass
class EmoIclModelOutput(Seq2SeqModelOutput):
    r"""
    Output of [`EmoIclModel`].

    Args:
        label_tokens, label_evidence, language_model_weight (`torch.Tensor`, *optional*):
            As in [`EmoIclEncoderOutput`].
    """

    label_tokens: torch.Tensor | None = None
    label_evidence: torch.Tensor | None = None
    language_model_weight: torch.Tensor | None = None


@dataclass
class EmoIclSeq2SeqLMOutput(Seq2SeqLMOutput):
    r"""
    Output of [`EmoIclForConditionalGeneration`].

    Args:
        label_tokens, label_evidence, language_model_weight (`torch.Tensor`, *optional*):
            As in [`EmoIclEncoderOutput`].
    """

    label_tokens: torch.Tensor | None = None
    label_evidence: torch.Tensor | None = None
    language_model_weight: torch.Tensor | None = None


__all__ = ["EmoIclAudioOutput", "EmoIclEncoderOutput", "EmoIclModelOutput", "EmoIclSeq2SeqLMOutput"]
