from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tiny import LABELS
from tiny_corpus import tiny_corpus

from emoicl.training.data.corpus import Corpus
from emoicl.training.episodes.episodes import EpisodeDataset


def episodes(corpus, num_epochs=1, **arguments):
    dataset = EpisodeDataset(corpus, LABELS, **arguments)
    drawn = []
    for epoch in range(num_epochs):
        dataset.set_epoch(epoch)
        drawn += [dataset[item] for item in range(len(dataset))]
    return drawn


def is_symbolic(episode):
    return episode.candidate_labels != list(LABELS)


def test_same_draws_for_same_seed_and_epoch(corpus):
    drawn = episodes(corpus, num_epochs=2, symbol_share=0.5)
    assert drawn == episodes(corpus, num_epochs=2, symbol_share=0.5)
    assert [episode.seed for episode in drawn[-2:]] == [(0, 1, 34), (0, 1, 35)]


def test_other_draws_for_other_seeds_and_epochs(corpus):
    drawn = [episode.enrollment for episode in episodes(corpus, num_epochs=2)]
    first, second = drawn[: len(corpus)], drawn[len(corpus) :]
    other = [episode.enrollment for episode in episodes(corpus, seed=1)]
    # Some have no shots, and are equal by chance.
    assert np.mean([a == b for a, b in zip(first, second, strict=True)]) < 0.3
    assert np.mean([a == b for a, b in zip(first, other, strict=True)]) < 0.3


def test_the_order_of_access_does_not_matter(corpus):
    dataset = EpisodeDataset(corpus, LABELS, symbol_share=0.5)
    assert [dataset[item] for item in (5, 3, 5)] == [episodes(corpus, symbol_share=0.5)[item] for item in (5, 3, 5)]


def test_an_episode_is_of_one_speaker_and_truly_labeled(corpus):
    for episode in episodes(corpus, num_epochs=3):
        utterances = [*episode.enrollment, episode.target]
        assert len(set(utterances)) == len(utterances)
        assert len({corpus.speaker_ids[index] for index in utterances}) == 1
        assert [corpus.labels[index] for index in utterances] == [*episode.enrollment_labels, episode.label]
        assert episode.candidate_labels == list(LABELS)


def test_the_number_of_shots_is_uniform(corpus):
    counts = Counter(len(episode.enrollment) for episode in episodes(corpus, num_epochs=40, shots=(0, 7)))
    assert sorted(counts) == list(range(8))
    # 1440 draws, 180 expected of each; 50 is 4 standard deviations.
    assert max(abs(count - 180) for count in counts.values()) < 50


def test_no_shots_in_the_first_stage(corpus):
    drawn = episodes(corpus, shots=(0, 0), symbol_share=1.0)
    assert not any(episode.enrollment or is_symbolic(episode) for episode in drawn)


def test_the_setting_is_followed(corpus):
    for episode in episodes(corpus, shots=(2, 2), setting="TE+LO"):
        assert len(set(episode.enrollment_labels)) == 1
        assert episode.label not in episode.enrollment_labels


def test_symbols_stand_for_the_words_alike(corpus):
    for episode in episodes(corpus, num_epochs=3, shots=(1, 7), symbol_share=1.0):
        true_labels = [corpus.labels[index] for index in (*episode.enrollment, episode.target)]
        shown_labels = [*episode.enrollment_labels, episode.label]
        meaning = dict(zip(LABELS, episode.candidate_labels, strict=True))
        assert len(set(meaning.values())) == len(LABELS)
        assert not set(meaning.values()) & set(LABELS)
        assert shown_labels == [meaning[label] for label in true_labels]
        assert episode.label in episode.enrollment_labels


def test_symbols_change_from_episode_to_episode(corpus):
    drawn = episodes(corpus, shots=(1, 7), symbol_share=1.0)
    assert len({tuple(episode.candidate_labels) for episode in drawn}) == len(drawn)


def test_the_share_of_symbols_is_the_same_for_any_number_of_shots(corpus):
    drawn = episodes(corpus, num_epochs=60, shots=(0, 7), symbol_share=0.4)
    share = [np.mean([is_symbolic(e) for e in drawn if len(e.enrollment) == k]) for k in range(8)]
    assert share[0] == 0
    # About 270 episodes for each number of shots: 0.12 is 4 standard deviations.
    assert share[1:] == pytest.approx([0.4] * 7, abs=0.12)


def test_speakers_with_few_utterances_get_what_they_have(corpus):
    few = Corpus([corpus[0], corpus[1], corpus[3]])
    drawn = episodes(few, num_epochs=4, shots=(7, 7), symbol_share=1.0)
    assert {len(episode.enrollment) for episode in drawn} == {2}
    # The only utterance of its label cannot be told by symbols.
    assert {episode.target for episode in drawn if not is_symbolic(episode)} == {2}


def test_a_speaker_of_one_utterance(corpus):
    assert episodes(Corpus([corpus[0]]), shots=(1, 7))[0].enrollment == []


def test_labels_that_are_no_candidates_are_refused():
    with pytest.raises(ValueError, match="no candidates: Anger"):
        EpisodeDataset(tiny_corpus(num_speakers=1), LABELS[:2])


def test_enrollments_of_one_emotion(corpus):
    neutral = LABELS[0]
    drawn = episodes(corpus, setting="TU+LO", enrollment_label=neutral, shots=(1, 7))
    takes = {speaker: sum(corpus.labels[i] == neutral for i in of) for speaker, of in corpus.by_speaker.items()}
    for episode in drawn:
        assert set(episode.enrollment_labels) == {neutral}
        assert len(episode.enrollment) <= takes[corpus.speaker_ids[episode.target]] - (episode.label == neutral)
    assert max(len(episode.enrollment) for episode in drawn) == max(takes.values())


def test_symbols_for_enrollments_of_one_emotion(corpus):
    with pytest.raises(ValueError, match="set `symbol_share` to 0"):
        EpisodeDataset(corpus, LABELS, setting="TU+LO", enrollment_label=LABELS[0], symbol_share=0.5)


def test_a_share_of_the_episodes_loses_labels(corpus):
    drawn = episodes(corpus, num_epochs=40, shots=(0, 7), unlabeled_share=0.4)
    labeled = episodes(corpus, num_epochs=40, shots=(0, 7))
    kinds = Counter()
    for episode, as_it_was in zip(drawn, labeled, strict=True):
        pairs = list(zip(episode.enrollment_labels, as_it_was.enrollment_labels, strict=True))
        assert all(label in (None, own) for label, own in pairs)
        assert replace(episode, enrollment_labels=as_it_was.enrollment_labels) == as_it_was
        if len(pairs) >= 5:
            lost = sum(label is None for label, _ in pairs)
            kinds["all" if lost == len(pairs) else "some" if lost else "none"] += 1
    # About 540 episodes of five shots and more: 0.08 is 4 standard deviations.
    shares = {kind: count / kinds.total() for kind, count in kinds.items()}
    assert shares == pytest.approx({"all": 0.2, "some": 0.2, "none": 0.6}, abs=0.08)


def test_symbol_episodes_keep_their_labels(corpus):
    drawn = episodes(corpus, num_epochs=3, shots=(1, 7), symbol_share=0.5, unlabeled_share=1.0)
    symbolic = [episode for episode in drawn if is_symbolic(episode)]
    assert symbolic and all(None not in episode.enrollment_labels for episode in symbolic)
    assert symbolic == [e for e in episodes(corpus, num_epochs=3, shots=(1, 7), symbol_share=0.5) if is_symbolic(e)]
    others = [episode.enrollment_labels for episode in drawn if not is_symbolic(episode)]
    assert np.mean([None in labels for labels in others]) > 0.6
