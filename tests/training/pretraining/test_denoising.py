from collections import Counter

import numpy as np
import pytest

from emoicl.training.pretraining.denoising import (
    UL2_DENOISERS,
    Denoiser,
    DenoisingDataset,
    draw_spans,
    partition,
    take_out,
)


MODE_IDS = {"[R]": 1, "[S]": 2, "[X]": 3}
EOS = 0
SENTINELS = range(100, 110)
FIRST_WORD = 1000


def reconstruct(inputs, targets, sentinels):
    """The text, by putting each span back in place of its sentinel."""
    spans, current = {}, []
    for token in targets:
        if token in sentinels:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return [token for given in inputs for token in spans.get(given, [given])]


@pytest.mark.parametrize("denoiser", UL2_DENOISERS, ids=str)
@pytest.mark.parametrize("length", [2, 3, 7, 64, 512])
def test_inputs_and_targets_reconstruct_the_text(denoiser, length):
    text = list(range(FIRST_WORD, FIRST_WORD + length))
    sentinels = range(100, 200)
    for seed in range(20):
        spans = draw_spans(length, denoiser, np.random.default_rng(seed))
        inputs, targets = take_out(text, spans, sentinels)
        assert reconstruct(inputs, targets, sentinels) == text
        assert len(inputs) + len(targets) == length + 2 * len(spans)
        # Something stays before each span, so that no two of them touch.
        assert all(end < start for (_, end), (start, _) in zip([(0, 0), *spans], spans, strict=False))
        assert all(start < end for start, end in spans)
        assert spans[-1][1] == length


@pytest.mark.parametrize(
    "denoiser, length, num_corrupted, num_spans",
    [
        (Denoiser("[R]", 0.15, mean_span=3), 100, 15, 5),
        (Denoiser("[R]", 0.15, mean_span=8), 512, 77, 10),
        (Denoiser("[X]", 0.5, mean_span=3), 100, 50, 17),
        (Denoiser("[X]", 0.15, mean_span=64), 512, 77, 1),
        (Denoiser("[X]", 0.5, mean_span=64), 512, 256, 4),
        # At least one token goes, and one stays.
        (Denoiser("[R]", 0.15, mean_span=3), 2, 1, 1),
        (Denoiser("[X]", 0.9, mean_span=1), 4, 3, 1),
        # One sentinel for each span.
        (Denoiser("[X]", 0.5, mean_span=1), 512, 256, 100),
    ],
)
def test_corruption_is_exact(denoiser, length, num_corrupted, num_spans):
    for seed in range(5):
        spans = draw_spans(length, denoiser, np.random.default_rng(seed))
        assert (sum(end - start for start, end in spans), len(spans)) == (num_corrupted, num_spans)


def test_the_span_of_a_prefix_language_model_ends_the_text_and_has_a_uniform_length():
    rng = np.random.default_rng(0)
    spans = [draw_spans(20, Denoiser("[S]", 0.25), rng) for _ in range(4000)]
    assert all(len(of_text) == 1 and of_text[0][1] == 20 for of_text in spans)
    counts = Counter(20 - of_text[0][0] for of_text in spans)
    assert sorted(counts) == list(range(1, 11))
    assert all(300 < count < 500 for count in counts.values())


def test_partitions_are_uniform():
    rng = np.random.default_rng(0)
    counts = Counter(tuple(partition(5, 3, rng).tolist()) for _ in range(6000))
    assert sorted(counts) == [(1, 1, 3), (1, 2, 2), (1, 3, 1), (2, 1, 2), (2, 2, 1), (3, 1, 1)]
    assert all(850 < count < 1150 for count in counts.values())


def test_spans_give_way_to_sentinels():
    inputs, targets = take_out(range(8), [(1, 3), (5, 6)], [90, 91, 92])
    assert inputs == [0, 90, 3, 4, 91, 6, 7]
    assert targets == [90, 1, 2, 91, 5]


def test_a_text_of_one_token():
    with pytest.raises(ValueError, match="of 1 tokens cannot be denoised"):
        draw_spans(1, UL2_DENOISERS[0], np.random.default_rng(0))


def make_dataset(num_tokens=2005, seed=0):
    tokens = np.arange(FIRST_WORD, FIRST_WORD + num_tokens)
    return DenoisingDataset(tokens, 10, MODE_IDS, SENTINELS, EOS, seed=seed)


def test_blocks_are_the_text():
    dataset = make_dataset()
    assert len(dataset) == 201
    restored = []
    for item in range(len(dataset)):
        example = dataset[item]
        mode, *inputs, end_of_inputs = example["input_ids"]
        *targets, end_of_targets = example["labels"]
        assert mode in MODE_IDS.values()
        assert end_of_inputs == end_of_targets == EOS
        restored += reconstruct(inputs, targets, SENTINELS)
    assert restored == dataset.tokens.tolist()


def test_a_last_block_of_one_token_is_left_out():
    assert len(make_dataset(2001)) == 200
    assert len(make_dataset(2002)) == 201


def test_denoisers_are_mixed_uniformly():
    dataset = make_dataset()
    modes = Counter(dataset[item]["input_ids"][0] for item in range(len(dataset)))
    shares = {mode: modes[number] / len(dataset) for mode, number in MODE_IDS.items()}
    assert shares == pytest.approx({"[R]": 2 / 7, "[S]": 1 / 7, "[X]": 4 / 7}, abs=0.1)


def test_draws_depend_on_seed_epoch_and_item_alone():
    dataset, same, other_seed = make_dataset(), make_dataset(), make_dataset(seed=1)
    first = [dataset[item] for item in range(50)]
    assert [same[item] for item in reversed(range(50))][::-1] == first
    assert [other_seed[item] for item in range(50)] != first
    dataset.set_epoch(1)
    assert sum(dataset[item] == first[item] for item in range(50)) < 25
    dataset.set_epoch(0)
    assert [dataset[item] for item in range(50)] == first


def test_too_little_text():
    with pytest.raises(ValueError, match="The text has 1 tokens: too few"):
        make_dataset(1)
