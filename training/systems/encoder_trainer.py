"""Tunes a pretrained speech encoder on the voices of many speakers, before a language model listens through it.

The paper's encoder is trained beforehand on several speech understanding tasks, emotion among them; a published one
such as Whisper's was trained to transcribe, which an emotion should not change. Here it is trained end to end for what
it will be used for: naming the emotion of an utterance after any number of labeled ones of its speaker.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.modeling.speaker_posterior_emoicl import PLAIN_PRIOR
from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.training.baselines.pooling import PooledFeatures
from emoicl.training.baselines.speaker_statistics import fit_adaptation
from emoicl.training.data.corpus import Corpus, CorpusLike
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.classifier_inputs import InputCache
from emoicl.training.episodes.speaker_blocks import BlockCollator, SpeakerBlocks
from emoicl.training.evaluation.recognition import EncoderRecognizer
from emoicl.training.systems.base_trainer import EmoIclTrainer, as_forward, load_part
from emoicl.training.systems.encoder_config import EncoderTrainingArguments


class EncoderTrainer(EmoIclTrainer):
    r"""
    Trains the speech encoder of a model, and its speaker adaptation with it, to name emotions after 0 to 7 shots. The
    speaker adaptation starts as the closed form of the untuned encoder. The language model takes no part, also
    not in evaluation, of which [`EmoIclTrainer`] tells.

    Args:
        model ([`EmoIclForConditionalGeneration`]):
            A model on log-mel features, with `freeze_speech_encoder=False`, a speaker adaptation, and as its
            `label_words` all labels of the corpus.
        args ([`EncoderTrainingArguments`]): How to train and how utterances are drawn.
        train_dataset ([`Corpus`] or what [`load_corpus`] reads, such as a `datasets.Dataset`):
            Utterances of the training speakers, of the candidates and perhaps other labels.
        candidate_labels (`Sequence[str]`): The labels that the model will be asked for.
        inputs ([`InputCache`]): Holds the log-mel features of the corpus.
        eval_dataset ([`Corpus`] or what [`load_corpus`] reads, or a `dict` of them, *optional*):
            Utterances of other speakers and of the candidates alone, for UA_spk during training.
        column_names (`Mapping[str, str]`, *optional*): What the columns of both are called, see [`load_corpus`].
        **kwargs: Further arguments of [`~transformers.Trainer`].

    Raises:
        `ValueError`: If the speech encoder is frozen or reads something else, or the corpus is too small.
    """

    args: EncoderTrainingArguments
    model: EmoIclForConditionalGeneration

    def __init__(
        self,
        model: EmoIclForConditionalGeneration,
        args: EncoderTrainingArguments,
        train_dataset: CorpusLike,
        candidate_labels: Sequence[str],
        inputs: InputCache,
        eval_dataset: CorpusLike | dict[str, CorpusLike] | None = None,
        column_names: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        train_dataset = load_part("train_dataset", train_dataset, column_names)
        adaptation_config = model.config.adaptation_config
        if model.config.freeze_speech_encoder or adaptation_config is None or adaptation_config.sources:
            raise ValueError(
                "Tuning takes a model with `freeze_speech_encoder=False` and an `adaptation_config` without `sources`."
            )
        if model.model.speech_encoder.input_type != "log_mel":
            raise ValueError(
                f"Speech encoders that read log-mel features can be tuned; this one reads "
                f"{model.model.speech_encoder.input_type}s, of which pseudo-speakers cannot be made."
            )
        for name, parameter in model.named_parameters():
            if not name.startswith(("model.speech_encoder.", "model.adaptation.")):
                parameter.requires_grad_(False)
        self.candidate_labels, self.inputs = list(candidate_labels), inputs
        changes = {name: getattr(args, name) for name in ("pseudo_speaker_spread", "hidden_share", "longest")}
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            items=SpeakerBlocks(train_dataset, candidate_labels, args.open_share, args.seed),
            eval_dataset=eval_dataset,
            column_names=column_names,
            data_collator=BlockCollator(train_dataset, inputs, adaptation_config.label_words, **changes),
            **kwargs,
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Cross entropy of the right one among an episode's candidates."""
        answer: Any = as_forward(model, self.model, self.answer)
        return super().compute_loss(answer, dict(inputs), return_outputs, num_items_in_batch)

    def answer(
        self,
        input_features: torch.Tensor,
        input_features_mask: torch.Tensor,
        utterance_index: torch.Tensor,
        slots: torch.Tensor,
        candidates: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The evidence for each of an episode's candidates, and minus infinity for all other labels."""
        with self.accelerator.autocast():
            features, mask = self.model.get_speech_features(input_features, input_features_mask)
        adaptation: Any = self.model.model.adaptation
        voice_embeds = adaptation.embed(features.float(), mask)
        # The voices are those of the training corpora: no other prior is to be allowed for.
        evidence = adaptation.evidence(voice_embeds, utterance_index, slots, scales=PLAIN_PRIOR)
        return {"logits": evidence.masked_fill(~candidates, float("-inf"))}

    def recognizer(self) -> EncoderRecognizer:
        return EncoderRecognizer(self.model, self.inputs, self.candidate_labels, self.args.eval_batch_size)


def start_adaptation(
    model: EmoIclForConditionalGeneration,
    corpus: Corpus,
    feature_extractor: EmoIclFeatureExtractor,
    cache_folder: str | Path | None = None,
) -> None:
    """Sets the speaker adaptation of a model to the closed form for its speech encoder as it is, in place.

    Args:
        model ([`EmoIclForConditionalGeneration`]): A model with a speaker adaptation.
        corpus ([`Corpus`]): Training utterances of all its `label_words`.
        feature_extractor ([`EmoIclFeatureExtractor`]): Turns them into log-mel features.
        cache_folder (`str` or `Path`, *optional*): Where speech features are kept; by default the default folder.
    """
    # Before it is tuned it is one that others may have computed features by, and they are kept.
    untuned = copy.deepcopy(model).eval()
    untuned.config.freeze_speech_encoder = True
    features = FeatureCache(untuned, feature_extractor, cache_folder)
    features.fill_together(corpus.utterances)
    adaptation: Any = model.model.adaptation
    fitted = fit_adaptation(corpus, PooledFeatures(features)(corpus), adaptation.config)
    adaptation.load_state_dict(fitted.state_dict())
