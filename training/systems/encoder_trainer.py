"""Tunes a pretrained speech encoder on the voices of many speakers, before a language model listens through it.

The paper's encoder is trained beforehand on several speech understanding tasks, emotion among them; a published one
such as Whisper's was trained to transcribe, which an emotion should not change. Here it is trained end to end for what
it will be used for: naming the emotion of an utterance after any number of labeled ones of its speaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from emoicl.modeling.adaptation_emoicl import EmoIclSpeakerAdaptation, pool_statistics
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.training.baselines.prototypes import PrototypeBaseline
from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.classifier_inputs import InputCache, pad_inputs
from emoicl.training.episodes.episodes import Episode
from emoicl.training.episodes.pseudo_speakers import PseudoSpeaker, cut_frames, hide_bands
from emoicl.training.publishing.card_callback import ModelCardCallback
from emoicl.training.systems.adaptation import copy_floor
from emoicl.training.systems.meta_icl_trainer import EpochCallback


# More would rarely find a speaker who has them all.
LABELS_PER_BLOCK = 7
# With 1, a corpus is heard as often as it has speakers; with 0, as often as any other.
SOURCE_EXPONENT = 1 / 3
FRAMES_PER_SECOND = 100


@dataclass
class EncoderTrainingArguments(TrainingArguments):
    r"""
    Arguments of [`EncoderTrainer`], which adds to [`~transformers.TrainingArguments`] how utterances are drawn.

    Args:
        open_share (`float`, *optional*, defaults to 0.5):
            Share of the blocks whose labels are drawn from all that the training corpora have, rather than from the
            candidates alone.
        pseudo_speaker_spread (`float`, *optional*, defaults to 0.1):
            How far the frequencies and the tempo of a block are from those recorded, at most. 0 leaves them.
        hidden_share (`float`, *optional*, defaults to 0.15):
            Largest share of the frequencies, and of the frames, that is hidden in each utterance.
        longest (`float`, *optional*, defaults to 2.5): How much of an utterance a step hears, in seconds.
    """

    open_share: float = field(default=0.5, metadata={"help": "Share of blocks with labels beyond the candidates."})
    pseudo_speaker_spread: float = field(default=0.1, metadata={"help": "Largest change of frequencies and tempo."})
    hidden_share: float = field(default=0.15, metadata={"help": "Largest share of frequencies and frames hidden."})
    longest: float = field(default=2.5, metadata={"help": "How much of an utterance a step hears, in seconds."})
    per_device_train_batch_size: int = field(default=4, metadata={"help": "Speakers of a batch on each device."})
    remove_unused_columns: bool | None = field(default=False, metadata={"help": "Blocks have no columns."})


class SpeakerBlocks(Dataset[list[Episode]]):
    """
    Blocks of a speaker's utterances, two takes of each of up to seven labels. The takes of one half are the targets of
    one episode each, with shots of the other half, and the other way round: each utterance is encoded once, and counts
    as a target and as a shot. All is drawn by `(seed, epoch, item)`.

    Source corpora (`"ravdess"` of the speaker `"ravdess/01"`) are drawn by the cube root of their number of speakers,
    and the speakers of one alike: a small corpus is heard more often than its size has it, and is not worn out.

    Args:
        corpus ([`Corpus`]): Utterances of many speakers.
        candidate_labels (`Sequence[str]`): The labels that the model will be asked for.
        open_share (`float`): Share of the blocks with labels beyond the candidates.
        seed (`int`): Seed of all draws.

    Raises:
        `ValueError`: If no speaker has two utterances of each of two candidates.
    """

    def __init__(self, corpus: Corpus, candidate_labels: Sequence[str], open_share: float, seed: int):
        self.corpus = corpus
        self.candidate_labels = list(candidate_labels)
        self.open_share = open_share
        self.seed = seed
        self.epoch = 0
        self.takes = {speaker_id: self._takes(indices) for speaker_id, indices in corpus.by_speaker.items()}
        self.sources: dict[str, list[str]] = {}
        for speaker_id, takes in self.takes.items():
            if len(takes.keys() & set(self.candidate_labels)) > 1:
                self.sources.setdefault(corpus.corpus_of[speaker_id], []).append(speaker_id)
        if not self.sources:
            raise ValueError("No speaker has two utterances of each of two candidate labels, as a block takes them.")
        weights = np.array([len(of_source) for of_source in self.sources.values()]) ** SOURCE_EXPONENT
        self.source_shares = weights / weights.sum()

    def _takes(self, indices: Sequence[int]) -> dict[str, list[int]]:
        """The utterances of each label that has two or more."""
        takes: dict[str, list[int]] = {}
        for index in indices:
            takes.setdefault(self.corpus.labels[index], []).append(index)
        return {label: of_label for label, of_label in takes.items() if len(of_label) > 1}

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, so that it draws others."""
        self.epoch = epoch

    def __len__(self) -> int:
        """As many blocks as there are utterances to fill them, at least one."""
        return max(1, len(self.corpus) // (2 * LABELS_PER_BLOCK))

    def __getitem__(self, item: int) -> list[Episode]:
        seed = (self.seed, self.epoch, item)
        rng = np.random.default_rng((*seed, 4))
        source = rng.choice(list(self.sources), p=self.source_shares)
        takes = self.takes[rng.choice(self.sources[source])]
        is_open = rng.random() < self.open_share
        labels = [label for label in takes if is_open or label in self.candidate_labels]
        labels = rng.permutation(labels)[:LABELS_PER_BLOCK].tolist()
        halves = np.array([rng.permutation(takes[label])[:2] for label in labels]).T.tolist()
        episodes = []
        for targets, shots in (halves, halves[::-1]):
            drawn = rng.permutation(len(labels))[: rng.integers(len(labels) + 1)].tolist()
            enrollment, words = [shots[i] for i in drawn], [labels[i] for i in drawn]
            pairs = zip(targets, labels, strict=True)
            episodes += [Episode(target, enrollment, label, words, labels, seed) for target, label in pairs]
        return episodes


@dataclass
class BlockCollator:
    """
    Collates blocks into what [`EncoderTrainer`] computes its loss of. Each block has a pseudo-speaker of its own.

    Args:
        corpus ([`Corpus`]): The corpus that the blocks index.
        inputs ([`InputCache`]): Holds its log-mel features.
        known_labels (`Sequence[str]`): All labels of the corpus, in the order of the model's `label_words`.
        args ([`EncoderTrainingArguments`]): How utterances are changed.
    """

    corpus: Corpus
    inputs: InputCache
    known_labels: Sequence[str]
    args: EncoderTrainingArguments

    def __call__(self, blocks: Sequence[list[Episode]]) -> dict[str, torch.Tensor]:
        """
        Returns:
            `dict` of `input_features`, `input_features_mask`, `utterance_index` (see
            [`EmoIclSpeakerAdaptation.evidence`]), `slots` `(num_episodes, num_shots)`, `candidates`
            `(num_episodes, num_labels)`, which labels to choose from, and `labels` `(num_episodes,)`.
        """
        utterances: list[torch.Tensor] = []
        episodes, index = [], []
        for block in blocks:
            rng = np.random.default_rng((*block[0].seed, 5))
            voice = PseudoSpeaker.draw(self.args.pseudo_speaker_spread, rng)
            rows: dict[int, int] = {}
            for episode in block:
                for place in (*episode.enrollment, episode.target):
                    if place not in rows:
                        rows[place] = len(utterances)
                        utterances.append(self._hear(place, voice, rng).T)
                index.append([rows[place] for place in (*episode.enrollment, episode.target)])
            episodes += block
        column = {label: place for place, label in enumerate(self.known_labels)}
        return {
            **pad_inputs(utterances, self.inputs.feature_extractor.padding_value),
            "utterance_index": _pad(index, -1),
            "slots": _pad([[column[word] for word in episode.enrollment_labels] for episode in episodes], 0),
            "candidates": torch.tensor([[word in e.candidate_labels for word in column] for e in episodes]),
            "labels": torch.tensor([column[episode.label] for episode in episodes]),
        }

    def _hear(self, place: int, voice: PseudoSpeaker, rng: np.random.Generator) -> torch.Tensor:
        """Log-mel features `(num_mel_bins, num_frames)` of an utterance by a pseudo-speaker, cut and partly hidden."""
        log_mel = self.inputs.load([self.corpus[place]])["input_features"][0]
        cut = cut_frames(log_mel, round(self.args.longest * FRAMES_PER_SECOND), rng)
        return hide_bands(voice(cut), self.args.hidden_share, rng)


def _pad(rows: list[list[int]], value: int) -> torch.Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_value=value)


class EncoderTrainer(Trainer):
    r"""
    Trains the speech encoder of a model, and its speaker adaptation with it, to name emotions after 0 to 7 shots. The
    speaker adaptation starts as the closed form of the untuned encoder. The language model takes no part.

    Args:
        model ([`EmoIclForConditionalGeneration`]):
            A model on log-mel features, with `freeze_speech_encoder=False`, a speaker adaptation, and as its
            `label_words` all labels of the corpus.
        args ([`EncoderTrainingArguments`]): How to train and how utterances are drawn.
        train_dataset ([`Corpus`]): Utterances of the training speakers, of the candidates and perhaps other labels.
        candidate_labels (`Sequence[str]`): The labels that the model will be asked for.
        inputs ([`InputCache`]): Holds the log-mel features of the corpus.
        **kwargs: Further arguments of [`~transformers.Trainer`].

    Raises:
        `ValueError`: If the speech encoder is frozen or reads something else, the corpus is too small, or there are
            several processes.
    """

    args: EncoderTrainingArguments
    model: EmoIclForConditionalGeneration

    def __init__(
        self,
        model: EmoIclForConditionalGeneration,
        args: EncoderTrainingArguments,
        train_dataset: Corpus,
        candidate_labels: Sequence[str],
        inputs: InputCache,
        **kwargs: Any,
    ):
        if model.config.freeze_speech_encoder or not isinstance(model.adaptation, EmoIclSpeakerAdaptation):
            raise ValueError(
                "Tuning takes a model with `freeze_speech_encoder=False`, an `adaptation_size` and no "
                "`adaptation_sources`."
            )
        if model.speech_encoder.input_type != "log_mel":
            raise ValueError(
                f"Speech encoders that read log-mel features can be tuned; this one reads "
                f"{model.speech_encoder.input_type}s, of which pseudo-speakers cannot be made."
            )
        if args.world_size > 1:
            raise ValueError(
                "A speech encoder is tuned in one process: run once without `accelerate launch`. Then its stage is "
                "done, and a run by several processes goes on from there."
            )
        for name, parameter in model.named_parameters():
            if not name.startswith(("speech_encoder.", "adaptation.")):
                parameter.requires_grad_(False)
        known_labels = model.config.label_words or []
        blocks = SpeakerBlocks(train_dataset, candidate_labels, args.open_share, args.seed)
        super().__init__(
            model=model,
            args=args,
            train_dataset=blocks,
            data_collator=BlockCollator(train_dataset, inputs, known_labels, args),
            **kwargs,
        )
        self.add_callback(EpochCallback(blocks))
        self.add_callback(ModelCardCallback(train_dataset))

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        """Cross entropy of the right one among an episode's candidates."""
        with self.compute_loss_context_manager():
            features, mask = self.model.get_speech_features(inputs["input_features"], inputs["input_features_mask"])
        adaptation: Any = self.model.adaptation
        voice_embeds = adaptation.embed(features.float(), mask)
        evidence = adaptation.evidence(voice_embeds, inputs["utterance_index"], inputs["slots"])
        evidence = evidence.masked_fill(~inputs["candidates"], float("-inf"))
        loss = torch.nn.functional.cross_entropy(evidence, inputs["labels"])
        return (loss, {"logits": evidence}) if return_outputs else loss


def start_adaptation(model: EmoIclForConditionalGeneration, corpus: Corpus, inputs: InputCache) -> None:
    """Sets the speaker adaptation of a model to the closed form for its speech encoder as it is, in place.

    Args:
        model ([`EmoIclForConditionalGeneration`]): A model with a speaker adaptation.
        corpus ([`Corpus`]): Training utterances of all its `label_words`.
        inputs ([`InputCache`]): Holds their log-mel features.
    """
    pooled = pool_voices(model, corpus, inputs)
    words = model.config.label_words or []
    floor = PrototypeBaseline(corpus, lambda _: pooled, words, weight=0.0, size=model.config.adaptation_size)
    adaptation: Any = model.adaptation
    copy_floor(floor, adaptation)


@torch.no_grad()
def pool_voices(
    model: EmoIclForConditionalGeneration, corpus: Corpus, inputs: InputCache, batch_size: int = 32
) -> np.ndarray:
    """Mean and standard deviation over time of each utterance's features, `(num_utterances, 2 * hidden_size)`."""
    model.eval()
    pooled = []
    for start in range(0, len(corpus), batch_size):
        batch = inputs.load(corpus.utterances[start : start + batch_size])
        features, mask = model.get_speech_features(**{name: part.to(model.device) for name, part in batch.items()})
        pooled.append(pool_statistics(features, mask).cpu())
    return torch.cat(pooled).double().numpy()
