"""Target and enrollment -> the prompt of the speech language model, with the features of its utterances."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, ProcessorMixin

from .audio_emoicl import AudioLike
from .enrollment_emoicl import (
    Utterance,
    as_words,
    decode_enrollment,
    decode_target,
    index_utterances,
    match_label,
    refuse_enrolled,
    same_label,
)


# The labels and the instruction of the paper.
CANDIDATE_LABELS = ("Neutral", "Surprise", "Sadness", "Joy", "Fear", "Disgust", "Anger")
INSTRUCTION = "Please select the appropriate emotion for the input speech from the following: {labels}."

# In characters. A label is a word or a few.
MAX_LABEL_LENGTH = 100
# Stands for a word that the language model does not know.
OPEN_LABEL = "<label_{}>"
IGNORE_INDEX = -100


class EmoIclProcessor(ProcessorMixin):
    r"""
    Constructs an emoicl processor, which wraps a feature extractor and a tokenizer and lays out the prompt of the
    paper (section *MetaICL*): the instruction W, the k enrollment pairs of an utterance X^i and its label Z^i, and the
    target utterance X. Every utterance takes `num_query_tokens` places, which the model fills with its query tokens.

    Args:
        feature_extractor ([`EmoIclFeatureExtractor`]):
            Computes the features of the utterances.
        tokenizer ([`PreTrainedTokenizerBase`]):
            Tokenizer of the language model. It must know `audio_token` as a single token.
        num_query_tokens (`int`, *optional*, defaults to 150):
            Number of places an utterance takes in the prompt: `config.num_query_tokens` of the model.
        candidate_labels (`list[str]`, *optional*, defaults to the paper's seven):
            The labels to choose from when a call names no others.
        instruction (`str`, *optional*, defaults to the paper's):
            Text of W. `{labels}` stands for the candidate labels, joined by ", ".
        max_shots (`int`, *optional*, defaults to 31):
            Largest number of enrollment pairs in a prompt: `config.max_shots` of the model.
        audio_token (`str`, *optional*, defaults to `"<audio>"`):
            Token that holds the place of a query token.
        known_labels (`list[str]`, *optional*):
            The labels that the language model knows by their words, as one does that was trained from scratch. A
            candidate that is none of them is written as one of the tokenizer's reserved tokens `<label_0>`,
            `<label_1>`, ..., in the order of the candidates. By default every label is written as its own text, as in
            the paper.
        prompt_frame (`list[str]`, *optional*, defaults to `["", ""]`):
            Text before the instruction and after the target, such as a chat has around what its user says. Its last
            token is not part of the prompt: after it a label is written, and the model knows it as
            `config.decoder_start_token_id`.
        chat_template (`str`, *optional*):
            Unused; every processor of transformers has one.

    Raises:
        `ValueError`: If a field is not what it should be, or the tokenizer lacks a token that is needed.
    """

    def __init__(
        self,
        feature_extractor,
        tokenizer,
        num_query_tokens: int = 150,
        candidate_labels: Sequence[str] = CANDIDATE_LABELS,
        instruction: str = INSTRUCTION,
        max_shots: int = 31,
        audio_token: str = "<audio>",
        known_labels: Sequence[str] | None = None,
        prompt_frame: Sequence[str] = ("", ""),
        chat_template: str | None = None,
    ):
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)
        if audio_token not in tokenizer.get_vocab():
            raise ValueError(
                f"The tokenizer has no token {audio_token!r}. Add it with "
                f'`tokenizer.add_tokens("{audio_token}", special_tokens=True)` and resize the embeddings of the '
                "language model."
            )
        _check_fields(tokenizer, instruction, prompt_frame, num_query_tokens=num_query_tokens, max_shots=max_shots)
        self.num_query_tokens = num_query_tokens
        self.open_labels = _open_labels(tokenizer)
        self.known_labels = None if known_labels is None else self._check_words(known_labels, "Known")
        if known_labels is not None and not self.open_labels:
            raise ValueError(
                f"`known_labels` are given, but the tokenizer has no token {OPEN_LABEL.format(0)!r} to write other "
                "labels as. Leave them out, or train a tokenizer with `num_open_labels`."
            )
        self.candidate_labels = self._check_candidates(candidate_labels)
        self.instruction = instruction
        self.prompt_frame = list(prompt_frame)
        self.max_shots = max_shots
        self.audio_token = audio_token
        self.audio_token_id = tokenizer.convert_tokens_to_ids(audio_token)

    @property
    def model_input_names(self) -> list[str]:
        prompt = ["input_ids", "attention_mask", "sequence_ids", "segment_ids", "utterance_index"]
        return prompt + self.feature_extractor.model_input_names

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        audio: AudioLike | list[Any],
        enrollment: list | None = None,
        candidate_labels: list | None = None,
        labels: str | list[str] | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """
        Prepares one target utterance, or a batch of them, for the model. An utterance that occurs several times in a
        batch, say in the enrollment that several targets share, becomes a single row of `input_features`.

        Args:
            audio (`str`, `os.PathLike`, `bytes`, `dict`, `np.ndarray`, `torch.Tensor`, or a `list` of these):
                The target utterances, in any form that [`decode_audio`] reads. A list is a batch.
            enrollment (`list[dict]` or `list[list[dict]]`, *optional*):
                Utterances `{"audio": ..., "label": ...}` of the target's speaker, in the order of the prompt, or
                `{"audio": ...}` where the label is not known. For a list of targets, a list with the enrollment of
                each; they may differ in length.
            candidate_labels (`list[str]` or `list[list[str]]`, *optional*, defaults to `self.candidate_labels`):
                The labels to choose from: for all targets, or a list with those of each target.
            labels (`str` or `list[str]`, *optional*):
                The true label of each target, for training.
            return_tensors (`str`, *optional*, defaults to `"pt"`):
                `"pt"` for PyTorch tensors, `"np"` for NumPy arrays.

        Returns:
            [`BatchFeature`] with the fields of [`~EmoIclProcessor.build_prompts`] and

            - **input_features** (`(num_utterances, feature_size, num_frames)`, float32) -- each distinct utterance
              once, targets and enrollment alike;
            - **input_features_mask** (`(num_utterances, num_frames)`) -- 1 for real frames, 0 for padding.

        Raises:
            `ValueError`: If an utterance cannot be used, an enrollment item has no audio, other keys or a label that
                is not a candidate, the enrollment holds the target itself or is longer than `max_shots`. The message
                names the item.
        """
        if isinstance(audio, (list, tuple)):
            episodes = self._decode_episodes(audio, enrollment, candidate_labels)
        else:
            episodes = [self._decode_episode(audio, enrollment, candidate_labels)]
        labels = [labels] if isinstance(labels, str) else labels

        utterances, utterance_index = index_utterances(episodes)
        enrollment_labels = [[shot.label for shot in shots] for *shots, _ in episodes]
        prompts = self.build_prompts(utterance_index, enrollment_labels, candidate_labels, labels)
        features = self.feature_extractor.extract([utterance.waveform for utterance in utterances])
        return BatchFeature({**prompts, **features}, tensor_type=return_tensors)

    def _decode_episode(self, audio, enrollment, candidate_labels) -> list[Utterance]:
        target = decode_target(self.feature_extractor, audio)
        shots = decode_enrollment(self.feature_extractor, enrollment or [])
        refuse_enrolled(target, shots, [shot.digest for shot in shots])
        self.match_enrollment_labels([shot.label for shot in shots], candidate_labels)
        return [*shots, target]

    def match_enrollment_labels(
        self, labels: Sequence[str | None], candidate_labels: Sequence[str] | None = None
    ) -> list[str | None]:
        """
        The candidates that the labels of an enrollment mean, whatever their case and blanks.

        Args:
            labels (`list[str or None]`):
                The label of each utterance, None where it is not known.
            candidate_labels (`list[str]`, *optional*, defaults to `self.candidate_labels`):
                The labels to choose from.

        Returns:
            `list[str or None]`: The labels as the candidates have them.

        Raises:
            `ValueError`: If a label is not among the candidates, or there are more than `max_shots`.
        """
        return self._match_labels(labels, self._resolve_candidates(candidate_labels))

    def _decode_episodes(self, audio, enrollment, candidate_labels) -> list[list[Utterance]]:
        if not audio:
            raise ValueError("No targets: the list is empty.")
        if enrollment is None:
            enrollment = [None] * len(audio)
        if len(enrollment) != len(audio) or any(isinstance(shots, Mapping) for shots in enrollment):
            raise ValueError(
                f"A list of {len(audio)} targets needs a list of {len(audio)} enrollments, each of them a list of "
                'dictionaries with "audio" and, if known, "label".'
            )
        candidates = self._candidates_of_each(candidate_labels, len(audio))
        episodes = []
        for i, arguments in enumerate(zip(audio, enrollment, candidates, strict=True)):
            try:
                episodes.append(self._decode_episode(*arguments))
            except ValueError as error:
                raise ValueError(f"target {i}: {error}") from error
        return episodes

    def build_prompts(
        self,
        utterance_index: list[list[int]],
        enrollment_labels: Sequence[Sequence[str | None]],
        candidate_labels: list | None = None,
        labels: list[str] | None = None,
    ) -> BatchFeature:
        """
        Lays out the prompts W, X^1, Z^1, ..., X^k, Z^k, X: all that the model is given but the speech itself. What
        frames them is of the sequence of W.

        Args:
            utterance_index (`list[list[int]]`):
                For each prompt, the rows of X^1 ... X^k and last of the target X among the utterances of the batch.
            enrollment_labels (`list[list[str or None]]`):
                For each prompt, the labels Z^1 ... Z^k. The sequence of one that is None keeps its place, without
                tokens.
            candidate_labels (`list[str]` or `list[list[str]]`, *optional*, defaults to `self.candidate_labels`):
                The labels to choose from: for all prompts, or a list with those of each prompt.
            labels (`list[str]`, *optional*):
                The true label of each target.

        Returns:
            [`BatchFeature`] of int64 tensors:

            - **input_ids** (`(batch_size, prompt_length)`) -- with `num_query_tokens` audio tokens for an utterance,
              padded on the right;
            - **attention_mask** (same shape) -- 1 for real tokens, 0 for padding;
            - **sequence_ids** (same shape) -- place of the token's sequence in the prompt, for the sequence-position
              embedding, counted back from the target: W 0, X^1 2k + 1, Z^1 2k, ..., Z^k 2, X 1; 0 in padding;
            - **segment_ids** (same shape) -- modality, for the segment embedding: 0 text, 1 speech; 0 in padding;
            - **utterance_index** (`(batch_size, max_shots_in_batch + 1)`) -- as given, padded with -1;
            - **labels** (`(batch_size, label_length)`) -- if `labels` are given, see [`~EmoIclProcessor.label_ids`].

        Raises:
            `ValueError`: If a label is not among the candidates, a target is in its own enrollment, or an enrollment
                is longer than `max_shots`.
        """
        candidates = self._candidates_of_each(candidate_labels, len(utterance_index))
        if labels is not None and len(labels) != len(utterance_index):
            raise ValueError(f"Got {len(labels)} labels for {len(utterance_index)} targets.")
        spellings = [self._spell(words) for words in candidates]
        before, after = self.prompt_frame
        instructions = [
            before + self.instruction.replace("{labels}", ", ".join(written.values())) for written in spellings
        ]
        shots_as_written: list[list[str | None]] = []
        targets_as_written: list[str] = []
        for i, (rows, shots, written) in enumerate(zip(utterance_index, enrollment_labels, spellings, strict=True)):
            try:
                self._check_prompt(rows, shots)
                matched = self._match_labels(shots, list(written))
                shots_as_written.append([label and written[label] for label in matched])
                if labels is not None:
                    targets_as_written.append(written[match_label(labels[i], list(written))])
            except ValueError as error:
                raise ValueError(f"prompt {i}: {error}") from error
        tokens = self._tokenize(
            {*instructions, after, *(text for shots in shots_as_written for text in shots if text)}
        )
        prompts = [
            self._lay_out(tokens[instruction], [tokens[text] if text else [] for text in shots], tokens[after][:-1])
            for instruction, shots in zip(instructions, shots_as_written, strict=True)
        ]
        input_ids, sequence_ids = zip(*prompts, strict=True)
        data = {
            "input_ids": _pad(input_ids, self.tokenizer.pad_token_id),
            "attention_mask": _pad([torch.ones_like(ids) for ids in input_ids], 0),
            "sequence_ids": _pad(sequence_ids, 0),
            # Text and speech sequences take turns.
            "segment_ids": _pad([ids % 2 for ids in sequence_ids], 0),
            "utterance_index": _pad([torch.tensor(rows) for rows in utterance_index], -1),
        }
        if labels is not None:
            data["labels"] = self._label_ids(targets_as_written)
        return BatchFeature(data)

    def label_ids(self, labels: list[str], candidate_labels: list[str] | None = None) -> torch.Tensor:
        """
        Tokenizes labels as the language model is to write them.

        Args:
            labels (`list[str]`):
                The label texts.
            candidate_labels (`list[str]`, *optional*, defaults to `self.candidate_labels`):
                The labels to choose from. They decide how those are written that are none of the `known_labels`.

        Returns:
            `torch.Tensor` of shape `(len(labels), label_length)`, int64: the tokens of each label and the
            end-of-sequence token, padded with -100.

        Raises:
            `ValueError`: If a label is neither a candidate nor known, where there are `known_labels`.
        """
        if self.known_labels is None:
            return self._label_ids(labels)
        candidates = self._resolve_candidates(candidate_labels)
        written = {label: label for label in self.known_labels} | self._spell(candidates)
        return self._label_ids([written[match_label(label, list(written))] for label in labels])

    def _label_ids(self, texts: list[str]) -> torch.Tensor:
        tokens = self._tokenize(set(texts))
        return _pad([torch.tensor([*tokens[text], self.tokenizer.eos_token_id]) for text in texts], IGNORE_INDEX)

    def decode_labels(self, sequences: torch.Tensor, candidate_labels: list[str] | None = None) -> list[str]:
        """
        Reads what the language model has written.

        Args:
            sequences (`torch.Tensor` of shape `(batch_size, length)`):
                What `generate` returned.
            candidate_labels (`list[str]`, *optional*, defaults to `self.candidate_labels`):
                The labels to choose from.

        Returns:
            `list[str]`: The texts, a reserved token being the candidate that it stands for. A text that is no
            candidate stays as it is.
        """
        if self.known_labels is None:
            return self.tokenizer.batch_decode(sequences, skip_special_tokens=True)
        # A reserved token is a special one, and yet it is what was written.
        reserved = set(self.tokenizer.convert_tokens_to_ids(self.open_labels))
        special = {*self.tokenizer.all_special_ids} - reserved
        kept = [[token for token in sequence if token not in special] for sequence in sequences.tolist()]
        meaning = {text: label for label, text in self._spell(self._resolve_candidates(candidate_labels)).items()}
        texts: list[str] = self.tokenizer.batch_decode(kept)
        return [meaning.get(text, text) for text in texts]

    def _spell(self, candidates: Sequence[str]) -> dict[str, str]:
        """How each candidate is written: as its own text, or as a reserved token if its word is not known."""
        if self.known_labels is None:
            return {label: label for label in candidates}
        known = {same_label(label): label for label in self.known_labels}
        unknown = [label for label in candidates if same_label(label) not in known]
        if len(unknown) > len(self.open_labels):
            raise ValueError(
                f"{len(unknown)} of the candidate labels are none of the known labels {', '.join(self.known_labels)}; "
                f"this model can take {len(self.open_labels)} such labels at a time."
            )
        tokens = dict(zip(unknown, self.open_labels, strict=False))
        return {label: tokens.get(label) or known[same_label(label)] for label in candidates}

    def _tokenize(self, texts: set[str]) -> dict[str, list[int]]:
        """Tokenizes each text on its own, so that it has the same tokens wherever it stands."""
        ordered = sorted(texts)
        return dict(zip(ordered, self.tokenizer(ordered, add_special_tokens=False)["input_ids"], strict=True))

    def _lay_out(
        self, instruction: list[int], shots: list[list[int]], after: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the tokens of a prompt, and for each the place of its sequence."""
        speech = [self.audio_token_id] * self.num_query_tokens
        sequences = [instruction, *(sequence for label in shots for sequence in (speech, label)), speech, after]
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        input_ids = torch.tensor([token for sequence in sequences for token in sequence])
        # Counted back from the target, which so has the same place at any number of shots.
        places = torch.tensor([0, *range(len(sequences) - 2, 0, -1), 0])
        return input_ids, places.repeat_interleave(lengths)

    def _resolve_candidates(self, candidate_labels: Sequence[str] | None) -> list[str]:
        return self.candidate_labels if candidate_labels is None else self._check_candidates(candidate_labels)

    def _check_candidates(self, labels: Sequence[str]) -> list[str]:
        candidates = self._check_words(labels, "Candidate")
        if not candidates:
            raise ValueError(
                "There are no candidate labels; name at least one, or leave them out for the default ones."
            )
        self._spell(candidates)
        return candidates

    def _check_words(self, labels: Sequence[str], kind: str) -> list[str]:
        labels = as_words(labels, kind)
        if not all(isinstance(label, str) and same_label(label) for label in labels):
            raise ValueError(f"{kind} labels must be a list of non-empty strings; got {labels!r}.")
        meanings = [same_label(label) for label in labels]
        if duplicates := [label for label, meant in zip(labels, meanings, strict=True) if meanings.count(meant) > 1]:
            raise ValueError(f"{kind} labels occur more than once: {', '.join(dict.fromkeys(duplicates))}.")
        special = {*self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab()}
        for label in labels:
            if len(label) > MAX_LABEL_LENGTH:
                raise ValueError(
                    f"Label {label[:20]!r}... has {len(label)} characters; at most {MAX_LABEL_LENGTH} are taken."
                )
            if any("\ud800" <= character <= "\udfff" for character in label):
                raise ValueError(f"Label {label!r} holds half a character (a lone surrogate); it is no text.")
            if found := [token for token in special if token in label]:
                raise ValueError(f"Label {label!r} holds {found[0]!r}, which the tokenizer takes for a control token.")
        return labels

    def _candidates_of_each(self, candidate_labels: list | None, num_prompts: int) -> list[list[str]]:
        if candidate_labels is not None:
            candidate_labels = as_words(candidate_labels, "Candidate")
        if not candidate_labels or isinstance(candidate_labels[0], str):
            return [self._resolve_candidates(candidate_labels)] * num_prompts
        if len(candidate_labels) != num_prompts:
            raise ValueError(f"Got {len(candidate_labels)} lists of candidate labels for {num_prompts} targets.")
        return [self._check_candidates(words) for words in candidate_labels]

    def _match_labels(self, labels: Sequence[str | None], candidates: list[str]) -> list[str | None]:
        if len(labels) > self.max_shots:
            raise ValueError(
                f"an enrollment of {len(labels)} utterances; at most {self.max_shots} (`max_shots`) are taken"
            )
        matched: list[str | None] = []
        for i, label in enumerate(labels):
            try:
                matched.append(None if label is None else match_label(label, candidates))
            except ValueError as error:
                raise ValueError(f"enrollment[{i}]: {error}") from None
        return matched

    def _check_prompt(self, rows: list[int], labels: Sequence[str | None]) -> None:
        if len(rows) != len(labels) + 1:
            raise ValueError(f"{len(rows)} utterances and {len(labels)} enrollment labels; expected one fewer")
        if rows[-1] in rows[:-1]:
            raise ValueError(f"enrollment[{rows.index(rows[-1])}]: is the target itself; take it out")


def _check_fields(tokenizer: Any, instruction: Any, prompt_frame: Any, **counts: Any) -> None:
    for kind in ("pad", "eos"):
        if getattr(tokenizer, f"{kind}_token_id") is None:
            raise ValueError(f"The tokenizer has no `{kind}_token`, which prompts and labels need.")
    for name, count in counts.items():
        if type(count) is not int or count < 0:
            raise ValueError(f"`{name}` is a whole number, 0 or more; got {count!r}.")
    if not isinstance(instruction, str):
        raise ValueError(f"`instruction` is a text; got {instruction!r}.")
    if not isinstance(prompt_frame, (list, tuple)) or [type(text) for text in prompt_frame] != [str, str]:
        raise ValueError(f"`prompt_frame` is two texts, before and after; got {prompt_frame!r}.")


def _open_labels(tokenizer: Any) -> list[str]:
    """The reserved tokens of a tokenizer, `<label_0>` and those that follow it."""
    vocabulary = tokenizer.get_vocab()
    tokens = map(OPEN_LABEL.format, itertools.count())
    return list(itertools.takewhile(lambda token: token in vocabulary, tokens))


def _pad(sequences: Sequence[torch.Tensor], value: int) -> torch.Tensor:
    return pad_sequence(list(sequences), batch_first=True, padding_value=value)


__all__ = ["EmoIclProcessor"]
