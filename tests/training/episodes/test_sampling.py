import pytest
from tiny import LABELS

from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.episodes import EpisodeDataset
from emoicl.training.episodes.sampling import ShotsSampler


def batches(corpus, batch_size, epoch=0, seed=0):
    episodes = EpisodeDataset(corpus, LABELS, shots=(0, 3), seed=seed)
    episodes.set_epoch(epoch)
    order = list(ShotsSampler(episodes, batch_size))
    assert len(ShotsSampler(episodes, batch_size)) == len(order)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)], episodes


def test_every_episode_once(corpus):
    for batch_size in (5, 36, 64):
        of_epoch, _ = batches(corpus, batch_size)
        assert sorted(sum(of_epoch, [])) == list(range(len(corpus)))


def test_a_batch_has_one_number_of_shots_unless_it_runs_out(corpus):
    of_epoch, episodes = batches(corpus, 4)
    numbers = [{episodes.num_shots(item) for item in batch} for batch in of_epoch]
    # Four numbers of shots meet in three batches at most.
    assert sum(len(of_batch) > 1 for of_batch in numbers) <= 3
    assert [min(of_batch) for of_batch in numbers] != sorted(min(of_batch) for of_batch in numbers)
    assert all(len(episodes[item].enrollment) == episodes.num_shots(item) for item in range(len(corpus)))


def test_the_order_is_that_of_seed_and_epoch(corpus):
    first, again, next_epoch, other = (
        batches(corpus, 4, epoch, seed)[0] for epoch, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    assert first == again
    assert first != next_epoch
    assert first != other


@pytest.mark.parametrize("num_episodes", [36, 7])
def test_the_last_batch_is_filled_up(corpus, num_episodes):
    episodes = EpisodeDataset(Corpus(corpus.utterances[:num_episodes]), LABELS, shots=(0, 3))
    order = list(ShotsSampler(episodes, 16))
    sampler = ShotsSampler(episodes, 16, fill_last=True)
    filled = list(sampler)
    assert len(filled) == len(sampler)
    assert len(filled) % 16 == 0
    assert filled[:num_episodes] == order
    assert all(episodes[item].counts for item in order)
    fillers = [episodes[item] for item in filled[num_episodes:]]
    assert 0 < len(fillers) < 16
    assert not any(episode.counts for episode in fillers)
    last_batch = order[num_episodes // 16 * 16 :]
    assert {episode.target for episode in fillers} <= set(last_batch)
