import dataclasses

import numpy as np
import pytest
import torch
from tiny import LABELS

from emoicl.training.episodes.collation import EpisodeCollator, keep_frames
from emoicl.training.episodes.episodes import Episode, EpisodeDataset


@pytest.fixture
def collator(composed, features, corpus):
    model, processor = composed
    return EpisodeCollator(corpus, processor, model, features)


def episode(corpus, enrollment, target):
    labels = [corpus.labels[index] for index in enrollment]
    return Episode(target, enrollment, corpus.labels[target], labels, list(LABELS))


def test_equals_the_processor_on_the_same_audio(composed, collator, corpus):
    model, processor = composed
    episodes = [episode(corpus, [4, 1], 3), episode(corpus, [], 4), episode(corpus, [10], 9)]
    batch = collator(episodes)
    expected = processor(
        [corpus[e.target].audio for e in episodes],
        enrollment=[
            [{"audio": corpus[index].audio, "label": corpus.labels[index]} for index in e.enrollment] for e in episodes
        ],
        labels=[e.label for e in episodes],
    )
    speech, mask = model.get_speech_features(expected.pop("input_features"), expected.pop("input_features_mask"))
    assert set(batch) == {*expected, "decoder_input_ids", "speech_features", "speech_features_mask"}
    assert all(torch.equal(batch[name], tensor) for name, tensor in expected.items())
    assert torch.equal(batch["speech_features_mask"], mask)
    torch.testing.assert_close(batch["speech_features"].float(), speech * mask[..., None], rtol=2**-11, atol=1e-4)


def test_a_shot_without_a_label_is_as_the_processor_has_it(composed, collator, corpus):
    partly = dataclasses.replace(episode(corpus, [4, 1], 3), enrollment_labels=[corpus.labels[4], None])
    batch = collator([partly])
    enrollment = [{"audio": corpus[4].audio, "label": corpus.labels[4]}, {"audio": corpus[1].audio}]
    expected = composed[1](corpus[3].audio, enrollment)
    for name in ("input_ids", "sequence_ids", "segment_ids", "utterance_index"):
        assert torch.equal(batch[name], expected[name])
    labels = composed[0].model.shot_labels(*(batch[name] for name in ("input_ids", "sequence_ids", "utterance_index")))
    assert (labels[0] >= 0).any(-1).tolist() == [True, False]


def test_decoder_input_is_shifted_labels(composed, collator, corpus):
    tokenizer = composed[1].tokenizer
    batch = collator([episode(corpus, [], index) for index in (0, 3)])
    for labels, inputs in zip(batch["labels"], batch["decoder_input_ids"], strict=True):
        labels = labels[labels >= 0].tolist()
        assert labels[-1] == tokenizer.eos_token_id
        assert inputs[: len(labels)].tolist() == [tokenizer.pad_token_id, *labels[:-1]]
        assert (inputs >= 0).all()


def test_an_utterance_stands_once_however_many_episodes_share_it(collator, corpus):
    episodes = [episode(corpus, [0, 1, 2], 3), episode(corpus, [3, 0], 1), episode(corpus, [], 0)]
    batch = collator(episodes)
    assert batch["utterance_index"].tolist() == [[0, 1, 2, 3], [3, 0, 1, -1], [0, -1, -1, -1]]
    assert len(batch["speech_features"]) == 4


def test_symbol_episodes_keep_their_words(composed, collator, corpus):
    dataset = EpisodeDataset(corpus, LABELS, shots=(3, 3), symbol_share=1.0)
    batch = collator([dataset[0], dataset[20]])
    for item, prompt in zip((0, 20), composed[1].tokenizer.batch_decode(batch["input_ids"]), strict=True):
        words = [*dataset[item].candidate_labels, *dataset[item].enrollment_labels]
        assert [word for word in LABELS if word in prompt] == []
        assert all(word in prompt for word in words)


def test_a_share_of_the_frames_is_drawn_by_the_episodes_seeds(composed, collator, features, corpus):
    model, processor = composed
    halved = EpisodeCollator(corpus, processor, model, features, frame_share=0.5)
    first = episode(corpus, [0], 2)
    second = dataclasses.replace(first, seed=(0, 1, 2))
    full, kept = collator([first]), halved([first])
    assert kept["speech_features_mask"].sum(1).tolist() == (full["speech_features_mask"].sum(1) / 2).ceil().tolist()
    assert torch.equal(kept["input_ids"], full["input_ids"])
    assert torch.equal(kept["speech_features"], halved([first])["speech_features"])
    assert not torch.equal(kept["speech_features"], halved([second])["speech_features"])


def numbered_frames(*lengths):
    """Speech features whose frames are numbered from 1, and 0 in padding."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    numbers = (torch.arange(max(lengths)) + 1) * mask
    return {"speech_features": numbers[..., None].expand(-1, -1, 2).half(), "speech_features_mask": mask}


@pytest.mark.parametrize("share, kept", [(0.5, [6, 1, 4]), (0.01, [1, 1, 1]), (0.99, [12, 1, 7])])
def test_kept_frames_are_real_and_in_order(share, kept):
    rng = np.random.default_rng(0)
    for _ in range(20):
        speech = keep_frames(numbered_frames(12, 1, 7), share, rng)
        mask = speech["speech_features_mask"]
        assert mask.sum(1).tolist() == kept
        assert mask.shape[1] == max(kept)
        for frames, real in zip(speech["speech_features"], mask, strict=True):
            numbers = frames[real.bool(), 0]
            assert (numbers > 0).all()
            assert (numbers.diff() > 0).all()
            assert torch.equal(real, (torch.arange(len(real)) < real.sum()).long())


def test_every_frame_is_kept_as_often():
    rng = np.random.default_rng(0)
    counts = torch.zeros(11)
    for _ in range(500):
        speech = keep_frames(numbered_frames(10, 4), 0.5, rng)
        counts[speech["speech_features"][0, :, 0].long()] += 1
    assert counts[0] == 0
    # 500 draws of one half: 60 is more than 5 standard deviations.
    assert (counts[1:] - 250).abs().max() < 60


def test_an_episode_that_does_not_count_has_no_loss(collator, corpus):
    dataset = EpisodeDataset(corpus, LABELS, shots=(2, 2))
    counting = collator([dataset[3], dataset[5]])
    filled = collator([dataset[3], dataset[~5]])
    assert (filled["labels"][1] == -100).all()
    counting["labels"][1] = -100
    assert filled.keys() == counting.keys()
    assert all(torch.equal(filled[name], tensor) for name, tensor in counting.items())
