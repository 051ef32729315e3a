"""Teaches a language model to read enrollments by made-up speakers, as a Trainer of transformers."""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.t5.modeling_t5 import T5Attention

from emoicl.modeling.modeling_emoicl import IGNORED, EmoIclForConditionalGeneration
from emoicl.processing.processing_emoicl import EmoIclProcessor
from emoicl.training.data.corpus import CorpusLike
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.made_up_speakers import Difficulty, MadeUpCollator, MadeUpSpeakers, words_to_give
from emoicl.training.episodes.sampling import ShotsSampler
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.systems.base_trainer import EmoIclTrainer, as_forward, load_part
from emoicl.training.systems.made_up_config import MadeUpTrainingArguments


class MadeUpTrainer(EmoIclTrainer):
    r"""
    Trains the language model of a speech language model on contexts of voice embeddings that are drawn from the
    statistics of its speaker adaptation. No utterance is heard, but in evaluation; see [`EmoIclTrainer`].

    Args:
        model ([`EmoIclForConditionalGeneration`]):
            A model with `voice_token`, `bind_labels` and without `enrollment_sees_target`, whose speaker adaptation
            is fitted. Its language model may be new or pretrained, an encoder-decoder or a decoder alone.
        args ([`MadeUpTrainingArguments`]): How to train and how contexts are drawn.
        train_dataset ([`Corpus`] or what [`load_corpus`] reads, such as a `datasets.Dataset`):
            Utterances of the training speakers, which the adaptation was fitted to.
        processing_class ([`EmoIclProcessor`]): Lays out the prompts; it has words that mean nothing, see
            [`words_to_give`].
        eval_dataset ([`Corpus`] or what [`load_corpus`] reads, or a `dict` of them, *optional*):
            Utterances of other speakers.
        features ([`FeatureCache`], *optional*): Holds their speech features.
        column_names (`Mapping[str, str]`, *optional*): What the columns of both are called, see [`load_corpus`].
        **kwargs: Further arguments of [`~transformers.Trainer`].

    Raises:
        `ValueError`: If the model or its processor is of another kind, or the prompts are too long for it.
    """

    args: MadeUpTrainingArguments
    model: EmoIclForConditionalGeneration

    def __init__(
        self,
        model: EmoIclForConditionalGeneration,
        args: MadeUpTrainingArguments,
        train_dataset: CorpusLike,
        processing_class: EmoIclProcessor,
        eval_dataset: CorpusLike | dict[str, CorpusLike] | None = None,
        features: FeatureCache | None = None,
        column_names: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        train_dataset = load_part("train_dataset", train_dataset, column_names)
        check_reader(model, processing_class)
        check_lengths(model, args)
        self.processor = processing_class
        self.features = features or FeatureCache(model, processing_class.feature_extractor)
        self.label_tokens = first_label_tokens(processing_class)
        adaptation: Any = model.model.adaptation
        items = MadeUpSpeakers(
            adaptation,
            model.config.voice_token_size or adaptation.config.size,
            len(train_dataset.by_speaker),
            (args.min_shots, args.max_shots),
            args.num_targets,
            args.wide_share,
            args.open_share,
            args.unlabeled_share,
            args.dependence,
            difficulties(args),
            args.contexts_per_epoch,
            len(words_to_give(processing_class)),
            args.seed if args.data_seed is None else args.data_seed,
        )
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            items=items,
            eval_dataset=eval_dataset,
            column_names=column_names,
            processing_class=processing_class,
            data_collator=MadeUpCollator(processing_class),
            **kwargs,
        )

    def _get_train_sampler(self, train_dataset: MadeUpSpeakers | None = None) -> ShotsSampler:
        contexts = cast(MadeUpSpeakers, train_dataset or self.train_dataset)
        processes = self.args.world_size
        return ShotsSampler(contexts, self.args.train_batch_size * processes, fill_last=processes > 1)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Cross entropy of the probabilities of each target's label, which sees the enrollment and no other target: of
        the decoder, and weighted by `encoder_loss_weight`, of what the encoder alone makes of the target."""
        decoder_input_ids = self.model.prepare_decoder_input_ids_from_labels(inputs["labels"])
        answer: Any = as_forward(model, self.model, self.answer_targets)
        inputs = inputs | {"decoder_input_ids": decoder_input_ids}
        return super().compute_loss(answer, inputs, return_outputs, num_items_in_batch)

    def answer_targets(
        self,
        decoder_input_ids: torch.Tensor,
        candidate_ids: torch.Tensor,
        probabilities: torch.Tensor,
        **prompts: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The logits of the labels of all targets, a row for each, and of an encoder for the first tokens that labels
        have, beside what they are to be."""
        answers = {"candidate_ids": candidate_ids, "probabilities": probabilities}
        with self.accelerator.autocast():
            encoded, mask, cache = self.encode_targets(prompts, len(decoder_input_ids))
            answers["logits"] = self.model(
                encoder_outputs=BaseModelOutput(encoded),
                attention_mask=mask,
                decoder_input_ids=decoder_input_ids,
                past_key_values=cache,
            ).logits
            language_model = self.model.model.language_model
            if language_model.config.is_encoder_decoder:
                answers["encoder_logits"] = read_out(language_model, encoded[:, -1])[:, self.label_tokens]
        return answers

    def mean_loss(
        self,
        outputs: Mapping[str, torch.Tensor],
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        logits = outputs["logits"]
        tokens = next_tokens(labels, outputs["candidate_ids"], outputs["probabilities"], logits.shape[-1])
        first_tokens = tokens[:, 0, self.label_tokens]
        smoothing = self.args.label_smoothing_factor
        tokens = (1 - smoothing) * tokens + smoothing / logits.shape[-1]
        losses = -(tokens * logits.float().log_softmax(-1)).sum(-1)
        if "encoder_logits" in outputs:
            of_encoder = -(first_tokens * outputs["encoder_logits"].float().log_softmax(-1)).sum(-1)
            losses[:, 0] += self.args.encoder_loss_weight * of_encoder
        losses = losses[labels != IGNORED]
        return losses.sum() / (len(losses) if num_items_in_batch is None else num_items_in_batch)

    def encode_targets(
        self, inputs: dict[str, torch.Tensor], num_rows: int
    ) -> tuple[torch.Tensor, torch.Tensor, Cache | None]:
        """What is computed of the prompts before any label is, a row for each target, and which of it counts; of a
        decoder-only language model the cache too, which holds what the targets of a context share."""
        base = self.model.model
        # Without the evidence of the speaker adaptation, which is of one target.
        layout = {name: inputs[name] for name in ("input_ids", "sequence_ids", "segment_ids", "utterance_index")}
        prompt = base.embed_prompt(**layout, query_embeds=base.voice_token(inputs["voice_embeds"]))
        encoded = base.prompted.encode(prompt, base.prompt_mask(**layout, attention_mask=inputs["attention_mask"]))
        hidden: Any = encoded.last_hidden_state
        num_contexts, length, _ = hidden.shape
        num_targets = num_rows // num_contexts
        # No text follows on an encoder's targets; on those of a decoder the rest of its frame does.
        num_context_tokens = int((inputs["sequence_ids"][0] == 1).int().argmax())
        context, targets = hidden.split([num_context_tokens, length - num_context_tokens], dim=1)
        cache = base.prompted.fill_cache(BaseModelOutput(context), inputs["attention_mask"][:, :num_context_tokens])
        if cache is not None:
            cache.batch_repeat_interleave(num_targets)
        rows = torch.cat(
            [
                context[:, None].expand(-1, num_targets, -1, -1),
                targets.unflatten(1, (num_targets, -1)),
            ],
            dim=2,
        ).flatten(0, 1)
        # The first target's is that of any.
        mask = inputs["attention_mask"][:, : rows.shape[1]].repeat_interleave(num_targets, 0)
        return rows, mask, cache

    def recognizer(self) -> SpeechLmRecognizer:
        return SpeechLmRecognizer(self.model, self.processor, self.features, batch_size=self.args.eval_batch_size)


def check_reader(model: EmoIclForConditionalGeneration, processor: EmoIclProcessor) -> None:
    """Refuses a model whose prompts have another layout, and a processor that lacks words that mean nothing."""
    config = model.config
    if not (config.voice_token and config.bind_labels) or config.enrollment_sees_target:
        raise ValueError(
            "Made-up speakers teach a model with `voice_token`, `bind_labels` and `enrollment_sees_target=False` in "
            f"its configuration; this one has {config.voice_token}, {config.bind_labels} and "
            f"{config.enrollment_sees_target}."
        )
    num_labels, num_unknown = len(processor.candidate_labels), len(words_to_give(processor))
    if num_unknown < num_labels:
        raise ValueError(
            f"Made-up speakers teach {num_labels} unknown words too: the tokenizer of a new language model needs "
            f"reserved tokens for as many, that of a pretrained one capitalized words; it has {num_unknown}."
        )


def check_lengths(model: EmoIclForConditionalGeneration, args: MadeUpTrainingArguments) -> None:
    """Refuses prompts of more utterances than a model takes."""
    adaptation: Any = model.model.adaptation
    matching = len(adaptation.config.label_words) if args.matching_steps else 0
    num_shots, most = max(args.max_shots, matching), model.config.max_shots + 1
    if num_shots + args.num_targets > most:
        raise ValueError(
            f"{num_shots} shots and {args.num_targets} targets share a prompt, and this model takes {most} "
            "utterances: set `num_targets` to less, or `max_shots` of its configuration to more."
        )


def difficulties(args: MadeUpTrainingArguments) -> list[Difficulty]:
    """Of each epoch, until the training is as hard as it gets."""
    num_batches = math.ceil(args.contexts_per_epoch / (args.train_batch_size * args.world_size))
    steps_per_epoch = math.ceil(num_batches / args.gradient_accumulation_steps)
    num_steps = args.max_steps if args.max_steps > 0 else args.num_train_epochs * steps_per_epoch
    easing_steps = args.easing_share * num_steps
    found = []
    for step in range(0, int(max(easing_steps, args.matching_steps)) + steps_per_epoch, steps_per_epoch):
        left = max(0.0, 1 - step / easing_steps) if easing_steps else 0.0
        found.append(Difficulty(args.noise * (args.first_noise / args.noise) ** left, step < args.matching_steps))
    return found


def first_label_tokens(processor: EmoIclProcessor) -> torch.Tensor:
    """The tokens that a label can begin with, known or not, in ascending order.

    Among all tokens a language model from scratch is busy at first with those that no label has, and does not get to
    what tells labels apart within hundreds of steps.
    """
    words = [*(processor.known_labels or processor.candidate_labels), *words_to_give(processor)]
    tokens = processor.tokenizer(words, add_special_tokens=False)["input_ids"]
    return torch.tensor([of_word[0] for of_word in tokens]).unique()


def read_out(language_model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The logits `(batch_size, vocab_size)` that a language model's head gives of hidden states of its encoder."""
    config = language_model.config
    # T5's head is its embeddings, for which it scales what it reads.
    scale = config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", False) else 1.0
    return language_model.get_output_embeddings()(scale * hidden)


def next_tokens(
    labels: torch.Tensor, candidate_ids: torch.Tensor, probabilities: torch.Tensor, vocab_size: int
) -> torch.Tensor:
    """
    How probable each token is at each step, after the earlier tokens of a label that was drawn.

    Args:
        labels (`torch.Tensor` of shape `(batch_size, length)`): Tokens of the labels, padded with -100.
        candidate_ids (`torch.Tensor` of shape `(batch_size, num_candidates, length)`): Those of all candidates.
        probabilities (`torch.Tensor` of shape `(batch_size, num_candidates)`): Of the candidates.
        vocab_size (`int`): Number of tokens.

    Returns:
        `torch.Tensor` of shape `(batch_size, length, vocab_size)`, whose rows sum to 1, or to 0 after a label's end.
    """
    agrees = (candidate_ids[:, :, :-1] == labels[:, None, :-1]).int().cumprod(-1)
    possible = torch.nn.functional.pad(agrees, (1, 0), value=1) * (candidate_ids != IGNORED)
    # The label that was drawn is always possible, however improbable it is.
    weights = possible * probabilities.clamp(min=1e-6)[..., None]
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
    tokens = weights.new_zeros(*labels.shape, vocab_size)
    return tokens.scatter_add_(2, candidate_ids.clamp(min=0).transpose(1, 2), weights.transpose(1, 2))


@torch.no_grad()
def prepare_to_hear(model: EmoIclForConditionalGeneration) -> None:
    """
    Sets how a language model hears the voice embeddings when training on made-up speakers begins, in place: scaled by
    what each dimension tells, and twice as loud as the embedding of a token.

    Args:
        model ([`EmoIclForConditionalGeneration`]): A model with `voice_token`, its speaker adaptation fitted.
    """
    adaptation: Any = model.model.adaptation
    voice_token: Any = model.model.voice_token
    size = len(voice_token.feature_scale)
    variances = {name: adaptation.variance(name)[0, :size] for name in ("unknown_label", "speaker_label", "noise")}
    signal = variances["unknown_label"] + variances["speaker_label"]
    gain = (signal / (signal + variances["noise"])).sqrt()
    voice_token.feature_scale.copy_(gain / gain.square().mean().sqrt() / variances["noise"].sqrt())
    loudness = 2 * model.get_input_embeddings().weight.std()
    voice_token.projection.weight.normal_().mul_(loudness * len(gain) ** -0.5)
    voice_token.projection.bias.zero_()


@torch.no_grad()
def prepare_to_read(model: EmoIclForConditionalGeneration) -> None:
    """
    Sets the weights that training a language model from scratch on made-up speakers starts from, in place: how it
    hears, see [`prepare_to_hear`], and for a T5, attention that at first goes to what is alike and copies it, as
    attention of trained language models does (Trockman and Kolter 2023, "Mimetic Initialization").

    With the usual weights thousands of steps go by before a target attends to the shots that it resembles, if it ever
    does. Where queries and keys are the same map, and what is attended to is added as it stands, a target carries the
    labels of the shots that it is like from the first step: they are matched within 150 steps, whatever the seed.

    Args:
        model ([`EmoIclForConditionalGeneration`]): A model with `voice_token`, its speaker adaptation fitted.
    """
    prepare_to_hear(model)
    for name, module in model.model.language_model.named_modules():
        if isinstance(module, T5Attention):
            width = module.d_model * module.key_value_proj_dim
            module.q.weight.normal_(std=2 * width**-0.5)
            module.k.weight.copy_(module.q.weight)
            torch.nn.init.orthogonal_(module.v.weight)
            module.o.weight.copy_(module.v.weight.T)
        elif name.endswith(".wo"):
            module.weight.mul_(0.3)
        elif name.endswith((".wi", ".wi_0", ".wi_1")):
            module.weight.mul_(0.5)
