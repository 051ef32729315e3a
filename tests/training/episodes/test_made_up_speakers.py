"""Contexts are drawn as they are said to be, and are laid out like any other prompt."""

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import multivariate_normal
from tiny import LABELS, tiny_model
from tiny_checkpoints import WORDS, chat_tokenizer

from emoicl.modeling.adaptation_emoicl import EmoIclSpeakerAdaptation
from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig
from emoicl.processing import EmoIclFeatureExtractor, EmoIclProcessor
from emoicl.training.episodes.made_up_speakers import (
    UNKNOWN_WORD,
    Difficulty,
    MadeUpCollator,
    MadeUpContext,
    MadeUpSpeaker,
    MadeUpSpeakers,
    words_to_give,
)
from emoicl.training.episodes.sampling import ShotsSampler
from emoicl.training.systems.tokenizer import train_tokenizer


SIZE = 5
HARD, EASY = Difficulty(noise=1.0, only_matching=False), Difficulty(noise=0.1, only_matching=True)
MANY = 2000


@functools.cache
def adaptation() -> EmoIclSpeakerAdaptation:
    config = EmoIclAdaptationConfig(
        size=SIZE, feature_size=SIZE, label_words=list(LABELS), label_token_ids=[[10, 1], [11, 1], [12, 1]]
    )
    torch.manual_seed(0)
    module = EmoIclSpeakerAdaptation(config)
    for name, parameter in module.named_parameters():
        parameter.data.normal_(std=3.0 if name == "label_means" else 0.5)
    return module


def made_up(**fields: Any) -> MadeUpSpeakers:
    defaults: dict[str, Any] = {
        "size": SIZE,
        "num_speakers": 20,
        "shots": (0, 7),
        "num_targets": 3,
        "wide_share": 0.5,
        "open_share": 0.25,
        "unlabeled_share": 0.4,
        "dependence": 0.5,
        "difficulties": [HARD],
        "num_contexts": MANY,
        "max_unknown": 4,
        "seed": 0,
    }
    return MadeUpSpeakers(adaptation(), **(defaults | fields))


def is_same(one: MadeUpContext, other: MadeUpContext) -> bool:
    words = [(c.shot_labels, c.target_labels, c.candidate_labels) for c in (one, other)]
    same = [np.array_equal(getattr(one, name), getattr(other, name)) for name in ("voices", "probabilities")]
    return words[0] == words[1] and all(same)


def unknown_words(context: MadeUpContext) -> set[str]:
    return set(context.candidate_labels) - set(LABELS)


def is_near(share: Any, expected: float, number: int = MANY) -> bool:
    """Whether a share of random items is within 5 standard deviations."""
    return abs(share - expected) <= 5 * math.sqrt(expected * (1 - expected) / number)


def test_the_most_telling_dimensions_are_drawn():
    few, all_of_them = made_up(size=2, num_targets=MANY, wide_share=0), made_up(num_targets=MANY, wide_share=0)
    assert few[0].voices.shape == (few.num_shots(0) + MANY, 2)
    assert np.array_equal(few.means, all_of_them.means[:, :2])
    for name, variance in few.variances.items():
        assert np.array_equal(variance, all_of_them.variances[name][:2])


def test_contexts_are_those_of_seed_epoch_and_item():
    speakers, again, other = made_up(), made_up(), made_up(seed=1)
    for item in (0, 1, 17):
        assert is_same(speakers[item], again[item]) and is_same(speakers[item], speakers[item])
        assert not is_same(speakers[item], other[item])
    assert not is_same(speakers[0], speakers[1])
    first = speakers[0]
    speakers.set_epoch(1)
    assert not is_same(speakers[0], first)
    again.set_epoch(1)
    assert is_same(speakers[0], again[0])


def test_a_context_is_one_of_one_speaker():
    speakers = made_up()
    for item in range(200):
        context = speakers[item]
        num_shots = speakers.num_shots(item)
        assert context.voices.shape == (num_shots + 3, SIZE) and np.isfinite(context.voices).all()
        assert len(context.shot_labels) == num_shots and len(context.target_labels) == 3
        words = context.candidate_labels
        assert 2 <= len(words) == len(set(words)) <= len(LABELS)
        assert {*context.target_labels, *context.shot_labels} <= {*words, None}


@pytest.mark.parametrize("shot_labels", [[], [0], [2, 2, 0], [0, 1, 2, 1]], ids=len)
def test_probabilities_are_those_of_the_joint_gaussian(shot_labels):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(3, SIZE))
    of_speaker, manner, noise = rng.uniform(0.2, 2.0, (3, SIZE))
    speaker = MadeUpSpeaker(means, of_speaker, manner, noise, np.zeros((0, SIZE)))
    voices = speaker.utter(rng, np.array([*shot_labels, 1]))
    expected = np.zeros(3)
    for label in range(3):
        labels = np.array([*shot_labels, label])
        same = labels[:, None] == labels
        for d in range(SIZE):
            covariance = speaker.speaker[d] + same * speaker.manner[d] + np.eye(len(labels)) * speaker.noise[d]
            expected[label] += multivariate_normal.logpdf(voices[:, d], means[labels, d], covariance)
    found = speaker.label_probabilities(voices[:-1], np.array(shot_labels, int), voices[-1:])
    np.testing.assert_allclose(found[0], softmax(expected), rtol=1e-6)


def test_dimensions_depend_on_each_other():
    """As far as is asked for, and each has the noise of the training speakers all the same."""
    noise, residuals = made_up().variances["noise"], {}
    for dependence in (0.0, 1.0):
        speakers = made_up(wide_share=0.0, num_targets=300, dependence=dependence, shots=(0, 0), unlabeled_share=0.0)
        of_contexts = []
        for context in (speakers[item] for item in range(40)):
            labels = np.array(context.target_labels)
            for label in set(labels):
                voices = context.voices[labels == label]
                of_contexts.append(np.cov((voices - voices.mean(0)).T))
        variances = np.array([np.diag(of_context) for of_context in of_contexts])
        assert variances.mean(0) == pytest.approx(HARD.noise * noise, rel=0.1)
        correlations = of_contexts / np.sqrt(variances[:, :, None] * variances[:, None])
        residuals[dependence] = np.abs(correlations[:, ~np.eye(SIZE, dtype=bool)]).mean()
    assert residuals[0.0] < 0.1 and residuals[1.0] > 0.2


def test_the_label_that_is_drawn_is_as_frequent_as_it_is_probable():
    speakers = made_up(unlabeled_share=0.5, open_share=0.5)
    sure, right = [], []
    for item in range(MANY):
        context = speakers[item]
        sure += context.probabilities.max(1).tolist()
        answers = [context.candidate_labels[best] for best in context.probabilities.argmax(1)]
        right += [answer == label for answer, label in zip(answers, context.target_labels, strict=True)]
    assert np.mean(right) == pytest.approx(np.mean(sure), abs=0.03)


def test_numbers_of_shots_are_equally_frequent():
    speakers = made_up(shots=(2, 5))
    numbers = [speakers.num_shots(item) for item in range(MANY)]
    assert all(is_near(numbers.count(shots) / MANY, 1 / 4) for shots in (2, 3, 4, 5))


def test_shares_hold():
    speakers = made_up(shots=(7, 7))
    contexts = [speakers[item] for item in range(MANY)]
    told = [[label is not None for label in context.shot_labels] for context in contexts]
    # Half of those with shots without labels have no label at all, and half one in two. All 7 are rarely told then.
    assert is_near(np.mean([not all(of_context) for of_context in told]), 0.4 * (1 - 0.5 * 2**-7))
    assert is_near(np.mean([not any(of_context) for of_context in told]), 0.4 * (0.5 + 0.5 * 2**-7))
    subset = np.mean([len(context.candidate_labels) < len(LABELS) for context in contexts])
    # Two or three of three labels, in three contexts of ten.
    assert is_near(subset, 0.3 / 2)
    # Each target is of another label, as far as there are as many.
    for context in contexts[:100]:
        assert len(set(context.target_labels)) == len(context.candidate_labels)


def test_the_share_with_unknown_words_holds():
    none, some, all_ = (
        [unknown_words(made_up(open_share=share)[item]) for item in range(MANY)] for share in (0.0, 0.25, 1.0)
    )
    assert not any(none)
    # A few of those that may have some have none: all labels mean what they say.
    assert np.mean([bool(words) for words in all_]) > 0.8
    share = np.mean([bool(words) for words in some])
    assert is_near(float(share), 0.25 * float(np.mean([bool(words) for words in all_])))


def test_no_more_unknown_words_than_there_are_reserved_tokens():
    for max_unknown in (3, 4, 9):
        speakers = made_up(open_share=1.0, max_unknown=max_unknown)
        found = [unknown_words(speakers[item]) for item in range(MANY)]
        assert max(map(len, found)) <= max_unknown
        assert set().union(*found) == {UNKNOWN_WORD.format(number) for number in range(max_unknown)}


def test_a_narrow_context_has_the_statistics_it_was_drawn_from():
    """Of the variances, those that speakers differ in are on average 4/3 of those of the training speakers: a factor
    that is uniform from 0 to 2 is squared."""
    module = adaptation()
    means = module.label_means[0].detach().numpy()
    of = {name: module.variance(name)[0].detach().numpy() for name in ("speaker", "speaker_label", "noise")}
    speakers = made_up(wide_share=0.0, open_share=0.0, unlabeled_share=0.0, shots=(6, 6), num_targets=6)
    deviations, offsets, label_means = [], [], {word: [] for word in LABELS}
    for item in range(MANY):
        context = speakers[item]
        labels = np.array([LABELS.index(word) for word in [*context.shot_labels, *context.target_labels] if word])
        cells = {label: context.voices[labels == label] for label in range(len(LABELS)) if (labels == label).any()}
        deviations += [
            voices.var(0, ddof=1) for voices in cells.values() if len(voices) > 1 for _ in range(len(voices) - 1)
        ]
        (first, *_) = cells
        offsets.append(cells[first][0] - means[first])
        for label, voices in cells.items():
            label_means[LABELS[label]].append(voices.mean(0))
    np.testing.assert_allclose(np.mean(deviations, 0), of["noise"], rtol=0.1)
    expected = (4 / 3) * (of["speaker"] + of["speaker_label"]) + of["speaker_label"] / 20 + of["noise"]
    np.testing.assert_allclose(np.var(offsets, 0), expected, rtol=0.2)
    for word, mean in zip(LABELS, means, strict=True):
        np.testing.assert_allclose(np.mean(label_means[word], 0), mean, atol=0.25)


def test_noise_is_that_of_the_difficulty():
    def deviation(noise: float) -> float:
        speakers = made_up(difficulties=[Difficulty(noise, False)], wide_share=0.0, open_share=0.0, num_targets=9)
        found = []
        for item in range(300):
            context = speakers[item]
            voices, labels = context.voices[-9:], np.array(context.target_labels)
            found += [voices[labels == word].var(0, ddof=1) for word in context.candidate_labels]
        return float(np.mean(found))

    assert deviation(0.25) / deviation(1.0) == pytest.approx(0.25, rel=1e-6)


def test_wide_contexts_are_of_other_rooms():
    narrow, wide = (
        np.array([made_up(wide_share=share)[item].voices[-1] for item in range(500)]) for share in (0.0, 1.0)
    )
    assert (wide.var(0) > narrow.var(0)).all()
    # Shares are drawn apart from all else, so that half of the contexts are of either kind.
    mixed = np.array([made_up(wide_share=0.5)[item].voices[-1] for item in range(500)])
    is_wide = (mixed == wide).all(1)
    assert is_near(is_wide.mean(), 0.5, 500)
    assert np.array_equal(mixed[~is_wide], narrow[~is_wide])


def test_difficulties_go_by_the_epoch():
    speakers = made_up(difficulties=[EASY, replace(EASY, noise=0.5), HARD])
    for epoch, difficulty in ((0, EASY), (1, replace(EASY, noise=0.5)), (2, HARD), (9, HARD)):
        speakers.set_epoch(epoch)
        assert speakers.difficulty == difficulty


def test_the_easiest_contexts_ask_only_what_the_target_is_like():
    speakers = made_up(difficulties=[EASY])
    for item in range(300):
        context = speakers[item]
        assert speakers.num_shots(item) == len(LABELS) == len(unknown_words(context))
        assert sorted(map(str, context.shot_labels)) == sorted(context.candidate_labels)
        assert set(context.target_labels) == set(context.candidate_labels)


@pytest.fixture(scope="module")
def processor():
    tokenizer = train_tokenizer(LABELS, num_open_labels=4)
    extractor = EmoIclFeatureExtractor()
    fields: dict[str, Any] = {"num_query_tokens": 1, "candidate_labels": LABELS, "known_labels": LABELS}
    return EmoIclProcessor(extractor, tokenizer, instruction="Of {labels}.", max_shots=12, **fields)


def decode(processor, ids):
    return processor.tokenizer.decode(ids[ids >= 0]).replace("<pad>", "")


def test_prompts_of_several_targets(processor):
    """As of one target, but that all of them stand at the end, and the padding comes first."""
    speakers = made_up(open_share=0.8, shots=(0, 5))
    contexts = [speakers[item] for item in range(40)]
    batch = MadeUpCollator(processor)(contexts)
    num_contexts, length = batch["input_ids"].shape
    for name in ("attention_mask", "sequence_ids", "segment_ids"):
        assert batch[name].shape == (num_contexts, length)
    assert (batch["attention_mask"] == 0).any()
    for name, value in (
        ("input_ids", processor.audio_token_id),
        ("attention_mask", 1),
        ("sequence_ids", 1),
        ("segment_ids", 1),
    ):
        assert (batch[name][:, -3:] == value).all()
    assert not (batch["sequence_ids"][:, :-3] == 1).any()
    reserved = processor.tokenizer.convert_tokens_to_ids(processor.open_labels)
    padding = batch["attention_mask"] == 0
    assert (batch["input_ids"][padding] == processor.tokenizer.pad_token_id).all()
    assert not batch["sequence_ids"][padding].any() and not batch["segment_ids"][padding].any()
    for row, context in enumerate(contexts):
        num_shots = len(context.shot_labels)
        alone = processor.build_prompts([[*range(num_shots + 1)]], [context.shot_labels], [context.candidate_labels])
        for name in ("input_ids", "sequence_ids", "segment_ids"):
            real = batch[name][row][batch["attention_mask"][row] == 1].tolist()
            expected = [*alone[name][0].tolist(), *alone[name][0][-1:].tolist() * 2]
            if name == "input_ids":
                stands_for = {token: reserved[context.reserved_order[i]] for i, token in enumerate(reserved)}
                expected = [stands_for.get(token, token) for token in expected]
            assert real == expected, name


def test_targets_have_what_frames_a_prompt_at_its_end(tmp_path):
    """Of a decoder-only language model, that knows words: those stand for nothing that they mean."""
    tokenizer = chat_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<audio>"]})
    tokenizer.pad_token = tokenizer.eos_token
    frame = ("<|im_start|>", "<|im_end|>\n<|im_start|>")
    processor = EmoIclProcessor(
        EmoIclFeatureExtractor(), tokenizer, 1, LABELS, "Of {labels}.", max_shots=12, prompt_frame=frame
    )
    assert words_to_give(processor) == list(WORDS)
    speakers = made_up(open_share=1.0, shots=(2, 5), unlabeled_share=0.0)
    contexts = [speakers[item] for item in range(20)]
    batch = MadeUpCollator(processor)(contexts)
    labels = batch["labels"].unflatten(0, (20, 3))
    for row, context in enumerate(contexts):
        real = batch["attention_mask"][row] == 1
        written = {UNKNOWN_WORD.format(i): WORDS[place] for i, place in enumerate(context.reserved_order)}
        shots, targets, candidates = (
            [written.get(str(word), str(word)) for word in words]
            for words in (context.shot_labels, context.target_labels, context.candidate_labels)
        )
        alone = processor.build_prompts([[*range(len(shots) + 1)]], [shots], [candidates])
        for name in ("input_ids", "sequence_ids", "segment_ids"):
            # A target, and what follows on it but its last token.
            of_prompt = alone[name][0].tolist()
            assert batch[name][row][real].tolist() == of_prompt + 2 * of_prompt[-3:], name
        assert [tokenizer.decode(ids[ids >= 0]) for ids in labels[row]] == [f"{word}<|im_end|>" for word in targets]


def test_placeholders_and_voices_match(processor):
    speakers = made_up(shots=(0, 5))
    contexts = [speakers[item] for item in range(20)]
    batch = MadeUpCollator(processor)(contexts)
    reader = tiny_model(num_query_tokens=1, max_shots=12, audio_token_id=processor.audio_token_id)
    placeholders = reader.model.get_placeholder_mask(
        batch["input_ids"], batch["segment_ids"], batch["utterance_index"]
    )
    for row, context in enumerate(contexts):
        index = batch["utterance_index"][row]
        assert placeholders[row].sum() == (index >= 0).sum() == len(context.voices)
        np.testing.assert_allclose(batch["voice_embeds"][index[index >= 0]], context.voices, rtol=1e-6)
    assert batch["voice_embeds"].dtype == torch.float32


def test_labels_of_unknown_words_are_reserved_tokens_in_an_order_of_the_context(processor):
    """Any of them stands for any word, or it would not have to be read."""
    speakers = made_up(open_share=1.0, shots=(7, 7), unlabeled_share=0.0)
    contexts = [speakers[item] for item in range(40)]
    batch = MadeUpCollator(processor)(contexts)
    labels = batch["labels"].unflatten(0, (40, 3))
    for context, ids, of_targets in zip(contexts, batch["input_ids"], labels, strict=True):
        unknown = [word for word in context.candidate_labels if word not in LABELS]
        order = context.reserved_order
        written = {word: word for word in LABELS}
        written |= {word: f"<label_{place}>" for word, place in zip(unknown, order, strict=False)}
        answers = [decode(processor, row) for row in of_targets]
        assert answers == [f"{written[word]}</s>" for word in context.target_labels]
        shots = "".join(f"<audio>{written[word]}" for word in context.shot_labels if word)
        candidates = ", ".join(written[word] for word in context.candidate_labels)
        assert decode(processor, ids) == f"Of {candidates}.{shots}" + "<audio>" * 3


def test_contexts_use_all_reserved_tokens_alike():
    speakers = made_up(max_unknown=9)
    first = [int(speakers[item].reserved_order[0]) for item in range(900)]
    assert sorted(speakers[0].reserved_order) == list(range(9))
    assert min(first.count(place) for place in range(9)) > 60


def test_batches_have_one_number_of_shots():
    speakers = made_up(num_contexts=64, shots=(0, 3))
    order = list(ShotsSampler(speakers, 8))
    assert sorted(order) == list(range(64))
    numbers = [{speakers.num_shots(item) for item in order[start : start + 8]} for start in range(0, 64, 8)]
    assert sum(len(of_batch) > 1 for of_batch in numbers) <= 3
