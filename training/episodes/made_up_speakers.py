"""Made-up speakers: prompts of voice embeddings that nobody uttered, drawn from the statistics of training speakers.

A language model that is meta-trained on the utterances of tens or hundreds of speakers learns them by heart and passes
over the labels of the enrollment. Contexts that never come twice leave it nothing to learn by heart: what a label
sounds like differs from one to the next, so that it must be read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch.utils.data import Dataset

from emoicl.modeling.adaptation_emoicl import EmoIclSpeakerAdaptation
from emoicl.processing.enrollment_emoicl import same_label
from emoicl.processing.processing_emoicl import EmoIclProcessor


# Along so many directions dimensions depend on each other: enough that a voice is none of them, few enough to matter.
NUM_DIRECTIONS = 4

# What no user writes: words that the processor writes as reserved tokens, or that become those of `words_to_give`.
UNKNOWN_WORD = "unknown {}"
# As many as a language model from scratch has reserved tokens for in layouts/reader.
MOST_WORDS = 16


@dataclass(frozen=True)
class Difficulty:
    """
    What contexts are like at some point of the training: easy ones first, or reading is hardly ever learned.

    Args:
        noise (`float`): Variance of noise, relative to that of the training speakers.
        only_matching (`bool`): Whether all labels are unknown words and each has one shot, so that the answer is the
            word of the shot that the target is most like.
    """

    noise: float
    only_matching: bool


@dataclass(frozen=True)
class MadeUpContext:
    """
    One enrollment, and several targets that share it.

    Args:
        voices (`np.ndarray` of shape `(num_shots + num_targets, size)`): Voice embeddings, those of the targets last.
        shot_labels (`list[str | None]`): Label word of each shot; None where it is not told.
        target_labels (`list[str]`): Label word of each target.
        candidate_labels (`list[str]`): Label words of the instruction.
        probabilities (`np.ndarray` of shape `(num_targets, num_candidates)`):
            How probable each candidate is of each target; see [`MadeUpSpeaker.label_probabilities`].
        reserved_order (`np.ndarray` of shape `(max_unknown,)`):
            Which reserved token each one that the processor writes becomes: it takes them in turn. Were they the same
            in all contexts, their names would need no reading, and a language model does not begin to.
        counts (`bool`, *optional*, defaults to `True`): Whether it is trained on, or fills up a batch.
    """

    voices: np.ndarray
    shot_labels: list[str | None]
    target_labels: list[str]
    candidate_labels: list[str]
    probabilities: np.ndarray
    reserved_order: np.ndarray
    counts: bool = True


@dataclass(frozen=True)
class MadeUpSpeaker:
    """
    What the utterances of one speaker are drawn from: `means[label] + speaker + manner[label] + noise`, all Gaussian
    and independent over dimensions, but for a part of the noise.

    Args:
        means (`np.ndarray` of shape `(num_labels, size)`): What labels sound like on average.
        speaker (`np.ndarray` of shape `(size,)`): Variance of what all of the speaker's utterances share.
        manner (`np.ndarray` of shape `(size,)`): Variance of what those with the same label share.
        noise (`np.ndarray` of shape `(size,)`): Variance of what no two share.
        directions (`np.ndarray` of shape `(num_directions, size)`): What no two share either, and dimensions do.
    """

    means: np.ndarray
    speaker: np.ndarray
    manner: np.ndarray
    noise: np.ndarray
    directions: np.ndarray

    def utter(self, rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        """Voice embeddings `(num_utterances, size)` with these labels, by their number, before they are blurred."""
        num_labels, size = self.means.shape
        speaker = np.sqrt(self.speaker) * rng.standard_normal(size)
        manner = np.sqrt(self.manner) * rng.standard_normal((num_labels, size))
        noise = np.sqrt(self.noise) * rng.standard_normal((len(labels), size))
        return (self.means + manner)[labels] + speaker + noise

    def blur(self, rng: np.random.Generator, voices: np.ndarray) -> np.ndarray:
        """Voice embeddings as they are heard: with the noise that dimensions share. Of unseen speakers of RAVDESS 18
        of 32 dimensions are independent, and a reader that takes all for it gets too sure."""
        return voices + rng.standard_normal((len(voices), len(self.directions))) @ self.directions

    def label_probabilities(self, shots: np.ndarray, shot_labels: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """
        The posterior of each target's label by Bayes' rule, which is what there is to learn: the label that was drawn
        says as much on average, but with the chance of the draw.

        Args:
            shots (`np.ndarray` of shape `(num_shots, size)`): Voice embeddings of the enrollment, not blurred: who
                knows more than the reader is right about the same share of what the reader sees.
            shot_labels (`np.ndarray` of shape `(num_shots,)`): Their labels, told or not.
            targets (`np.ndarray` of shape `(num_targets, size)`): Voice embeddings of the targets, not blurred.

        Returns:
            `np.ndarray` of shape `(num_targets, num_labels)`.
        """
        of_label = shot_labels[None] == np.arange(len(self.means))[:, None]
        num_shots = of_label.sum(1)[:, None]
        residuals = np.where(num_shots, of_label @ shots / np.maximum(num_shots, 1) - self.means, 0.0)
        # Gaussian conditioning, as `condition` of speaker_posterior_emoicl.py has it.
        precision = num_shots / (num_shots * self.manner + self.noise)
        variance = 1 / (1 / self.speaker + precision.sum(0))
        center = variance * (precision * residuals).sum(0)
        gain = self.manner * precision
        expected = self.means + center + gain * (residuals - center)
        spread = self.noise + self.manner * (1 - gain) + (1 - gain) ** 2 * variance
        return softmax(-0.5 * ((targets[:, None] - expected) ** 2 / spread + np.log(spread)).sum(-1), axis=1)


class MadeUpSpeakers(Dataset[MadeUpContext]):
    """
    Draws contexts by the Gaussian model of [`EmoIclSpeakerAdaptation`], the same for the same `(seed, epoch, item)`.

    In a share of them, *wide* ones, the statistics are not those of the training speakers: another room moves all
    utterances alike, labels sound less like themselves and more like the speaker, and the noise is another. In a
    share, some labels have words that nobody knows, and mean a known emotion or a new one. In a share, shots lack
    their label.

    Args:
        adaptation ([`EmoIclSpeakerAdaptation`]): Statistics of the training speakers.
        size (`int`): Number of dimensions of the voice embeddings that are drawn, the first ones.
        num_speakers (`int`): How many these were: so far the means of the labels are known.
        shots (`tuple[int, int]`): Smallest and largest number of shots.
        num_targets (`int`): Targets of a context.
        wide_share (`float`): Share of wide contexts.
        open_share (`float`): Share of contexts with labels of unknown words.
        unlabeled_share (`float`): Share of contexts with shots that lack their label.
        dependence (`float`): Largest share of the noise that dimensions share.
        difficulties (`Sequence[Difficulty]`): Of each epoch; the last one is that of all later ones.
        num_contexts (`int`): Contexts of an epoch.
        max_unknown (`int`): Largest number of unknown words, as many as there are known ones or more.
        seed (`int`): Seed of all draws.

    Raises:
        `ValueError`: If there are too few words.
    """

    def __init__(
        self,
        adaptation: EmoIclSpeakerAdaptation,
        size: int,
        num_speakers: int,
        shots: tuple[int, int],
        num_targets: int,
        wide_share: float,
        open_share: float,
        unlabeled_share: float,
        dependence: float,
        difficulties: Sequence[Difficulty],
        num_contexts: int,
        max_unknown: int,
        seed: int,
    ):
        num_labels = len(adaptation.config.label_words)
        if not 2 <= num_labels <= max_unknown:
            raise ValueError(
                f"Made-up speakers have 2 labels or more, and unknown words for all of them: got {num_labels} labels "
                f"and {max_unknown} unknown words."
            )
        # Those of all sources as one come first.
        self.means = adaptation.label_means[0, :, :size].detach().cpu().double().numpy()
        names = ("speaker", "speaker_label", "unknown_label", "noise")
        self.variances = {name: adaptation.variance(name)[0, :size].detach().cpu().double().numpy() for name in names}
        self.words: list[str] = adaptation.config.label_words
        self.mean_spread = np.sqrt(self.variances["speaker_label"] / num_speakers)
        self.shots = shots
        self.num_targets = num_targets
        self.wide_share = wide_share
        self.open_share = open_share
        self.unlabeled_share = unlabeled_share
        self.dependence = dependence
        self.difficulties = list(difficulties)
        self.num_contexts = num_contexts
        self.max_unknown = max_unknown
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, so that it draws others."""
        self.epoch = epoch

    @property
    def difficulty(self) -> Difficulty:
        return self.difficulties[min(self.epoch, len(self.difficulties) - 1)]

    def __len__(self) -> int:
        return self.num_contexts

    def num_shots(self, item: int) -> int:
        """Number of shots of a context."""
        if self.difficulty.only_matching:
            return len(self.words)
        fewest, most = self.shots
        return int(np.random.default_rng((self.seed, self.epoch, item, 7)).integers(fewest, most + 1))

    def all_shots(self) -> np.ndarray:
        """Number of shots of each context of the epoch, `(num_contexts,)`."""
        return np.array([self.num_shots(item) for item in range(len(self))])

    def __getitem__(self, item: int) -> MadeUpContext:
        """The context of an item; a negative one, `~item`, is that context without counting."""
        if item < 0:
            return replace(self[~item], counts=False)
        rng = np.random.default_rng((self.seed, self.epoch, item, 8))
        matching = self.difficulty.only_matching
        is_wide = rng.random() < self.wide_share
        has_unknown = matching or rng.random() < self.open_share
        words, means = self._draw_labels(rng, is_wide, has_unknown)
        if not matching and rng.random() < 0.3:
            kept = np.sort(rng.permutation(len(words))[: rng.integers(2, len(words) + 1)])
            words, means = [words[i] for i in kept], means[kept]
        num_labels, num_shots = len(words), self.num_shots(item)
        in_turn = np.concatenate([rng.permutation(num_labels) for _ in range(-(-num_shots // num_labels))] or [[]])
        shots = in_turn[:num_shots].astype(int)
        if not matching and rng.random() < 0.5:
            shots = rng.integers(num_labels, size=num_shots)
        targets = np.resize(rng.permutation(num_labels), self.num_targets)
        speaker = self._draw_speaker(rng, means, is_wide)
        voices = speaker.utter(rng, np.concatenate([shots, targets]))
        probabilities = speaker.label_probabilities(voices[:num_shots], shots, voices[num_shots:])
        shot_labels: list[str | None] = [words[label] for label in shots]
        if not matching and rng.random() < self.unlabeled_share:
            told = rng.random(num_shots) < (0.5 if rng.random() < 0.5 else 0.0)
            shot_labels = [word if tell else None for word, tell in zip(shot_labels, told, strict=True)]
        voices = speaker.blur(rng, voices)
        target_labels = [words[label] for label in targets]
        reserved_order = rng.permutation(self.max_unknown)
        return MadeUpContext(voices, shot_labels, target_labels, words, probabilities, reserved_order)

    def _draw_labels(self, rng: np.random.Generator, is_wide: bool, has_unknown: bool) -> tuple[list[str], np.ndarray]:
        """The candidates of a context and what each sounds like on average, `(num_labels, size)`."""
        num_known, size = self.means.shape
        means = self.means + self.mean_spread * rng.standard_normal((num_known, size))
        # On a corpus left out, a quarter is left of what tells the labels apart on the training corpora.
        means *= 1 - rng.random() * is_wide
        if not has_unknown:
            return self.words, means
        num_new = int(rng.integers(max(0, self.max_unknown - num_known) + 1))
        new = np.sqrt(self.variances["unknown_label"]) * rng.standard_normal((num_known + num_new, size))
        is_new = np.arange(len(new)) >= num_known
        # In half of them all known emotions are there, if by other names.
        is_new |= rng.random(len(new)) < max(0.0, 2 * rng.random() - 1)
        # Some contexts know no word, some all but the new ones.
        renamed_share = 1.0 if self.difficulty.only_matching else rng.choice([0.0, 0.5, 1.0])
        is_unknown = is_new | (rng.random(len(new)) < renamed_share)
        means = np.where(is_new[:, None], new, np.resize(means, new.shape))
        words = [UNKNOWN_WORD.format(i) if unknown else self.words[i] for i, unknown in enumerate(is_unknown)]
        # At most as many as without: more would seldom all be enrolled.
        order = rng.permutation(len(words))[:num_known]
        return [words[i] for i in order], means[order]

    def _draw_speaker(self, rng: np.random.Generator, means: np.ndarray, is_wide: bool) -> MadeUpSpeaker:
        """Some speakers differ more from others than on average, and so do their labels; a wide one has a room and a
        noise of its own too."""
        speaker = (2 * rng.random()) ** 2 * self.variances["speaker"]
        manner = (2 * rng.random()) ** 2 * self.variances["speaker_label"]
        noise = self.difficulty.noise * self.variances["noise"]
        if is_wide:
            speaker = speaker + np.exp(2 * (3.6 * rng.random() - 2))
            manner = manner * (1 + 3 * rng.random()) ** 2
            noise = noise * np.exp(2 * (2 * rng.random() - 1 + 0.3 * rng.standard_normal(means.shape[1])))
        share = self.dependence * rng.random()
        directions = rng.standard_normal((NUM_DIRECTIONS, means.shape[1]))
        directions *= np.sqrt(share * noise) / np.linalg.norm(directions, axis=0)
        return MadeUpSpeaker(means, speaker, manner, (1 - share) * noise, directions)


def words_to_give(processor: EmoIclProcessor) -> list[str]:
    """
    What stands for words that mean nothing, to say which label is whose: the reserved tokens of a language model from
    scratch, or capitalized words that are one token each of one that is pretrained and knows words.

    Args:
        processor ([`EmoIclProcessor`]): Its tokenizer has them.

    Returns:
        `list[str]`: The same each time; none of them is a candidate label.
    """
    if processor.open_labels:
        return processor.open_labels
    candidates = {same_label(label) for label in processor.candidate_labels}
    # SentencePiece marks where a word begins.
    tokens = {token.removeprefix("▁") for token in processor.tokenizer.get_vocab()}
    words = sorted(
        token for token in tokens if re.fullmatch("[A-Z][a-z]{3,}", token) and same_label(token) not in candidates
    )
    # Those of a small tokenizer are pieces of the words that it was made for.
    if len(words) < MOST_WORDS:
        return []
    # From all of the alphabet.
    return words[:: len(words) // MOST_WORDS][:MOST_WORDS]


class MadeUpCollator:
    """
    Collates contexts into prompts of several targets.

    Args:
        processor ([`EmoIclProcessor`]): Lays out the prompts.
    """

    def __init__(self, processor: EmoIclProcessor):
        self.processor = processor
        self.words = words_to_give(processor)

    def __call__(self, contexts: Sequence[MadeUpContext]) -> dict[str, Any]:
        """
        Returns:
            `dict` of `input_ids`, `attention_mask`, `sequence_ids`, `segment_ids` and `utterance_index` of prompts
            that end with `num_targets` targets in place of one, each with what frames a prompt at its end,
            `voice_embeds` `(num_utterances, size)`, and for each target `labels` `(num_contexts * num_targets,
            label_length)`, `candidate_ids` `(num_contexts * num_targets, num_candidates, label_length)` and their
            `probabilities`, 0 for candidates that another context has.
        """
        num_targets = len(contexts[0].target_labels)
        if not self.processor.open_labels:
            contexts = [self._give_words(context) for context in contexts]
        sizes = [len(context.voices) for context in contexts]
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        rows = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
        prompts = self.processor.build_prompts(
            [of_context[: len(of_context) - num_targets + 1] for of_context in rows],
            [context.shot_labels for context in contexts],
            [context.candidate_labels for context in contexts],
        )
        # Padding comes first: all targets stand right behind their own enrollment.
        is_real, from_target = prompts["attention_mask"] == 1, (prompts["sequence_ids"] == 1).cumsum(1) > 0
        is_kept = is_real & ~from_target
        order = is_kept.int().argsort(dim=1, stable=True)[:, -is_kept.sum(1).max() :]
        padding = {"input_ids": self.processor.tokenizer.pad_token_id}
        for name in ("input_ids", "attention_mask", "sequence_ids", "segment_ids"):
            tokens = prompts[name].masked_fill(~is_kept, padding.get(name, 0)).gather(1, order)
            of_target = prompts[name][0, is_real[0] & from_target[0]]
            prompts[name] = torch.cat([tokens, of_target.repeat(len(tokens), num_targets)], dim=1)
        self._reorder_reserved(prompts["input_ids"], contexts)
        longest = max(sizes)
        index = torch.tensor([[*of_context, *[-1] * (longest - len(of_context))] for of_context in rows])
        voices = torch.from_numpy(np.concatenate([context.voices for context in contexts])).float()
        return {**prompts, "utterance_index": index, "voice_embeds": voices, **self._answers(contexts)}

    def _answers(self, contexts: Sequence[MadeUpContext]) -> dict[str, torch.Tensor]:
        candidates = [self.processor.label_ids(c.candidate_labels, c.candidate_labels) for c in contexts]
        most, length = (max(ids.shape[axis] for ids in candidates) for axis in (0, 1))
        shape = (len(contexts), len(contexts[0].target_labels), most)
        candidate_ids, probabilities = torch.full((*shape, length), -100), torch.zeros(shape)
        labels = candidate_ids[:, :, 0].clone()
        for row, ids in enumerate(candidates):
            candidate_ids[row, :, : len(ids), : ids.shape[1]] = ids
        self._reorder_reserved(candidate_ids, contexts)
        for row, context in enumerate(contexts):
            probabilities[row, :, : context.probabilities.shape[1]] = torch.from_numpy(context.probabilities)
            told = [context.candidate_labels.index(label) for label in context.target_labels]
            if context.counts:
                labels[row] = candidate_ids[row, 0, told]
        answers = {"labels": labels, "candidate_ids": candidate_ids, "probabilities": probabilities}
        return {name: values.flatten(0, 1) for name, values in answers.items()}

    def _give_words(self, context: MadeUpContext) -> MadeUpContext:
        """The context with words that the language model knows, but not what they mean here."""
        given = {UNKNOWN_WORD.format(i): self.words[place] for i, place in enumerate(context.reserved_order)}
        return replace(
            context,
            shot_labels=[label and given.get(label, label) for label in context.shot_labels],
            target_labels=[given.get(label, label) for label in context.target_labels],
            candidate_labels=[given.get(label, label) for label in context.candidate_labels],
        )

    def _reorder_reserved(self, tokens: torch.Tensor, contexts: Sequence[MadeUpContext]) -> None:
        """Replaces the reserved tokens of each context, in place, where there are some."""
        if not self.processor.open_labels:
            return
        reserved = torch.tensor(self.processor.tokenizer.convert_tokens_to_ids(self.processor.open_labels))
        for row, context in zip(tokens, contexts, strict=True):
            is_reserved = torch.isin(row, reserved)
            place = torch.searchsorted(reserved, row[is_reserved])
            row[is_reserved] = reserved[torch.from_numpy(context.reserved_order)][place]
