import numpy as np
import pytest
import torch

from emoicl.processing.feature_extraction_emoicl import EmoIclFeatureExtractor
from emoicl.training.episodes.pseudo_speakers import PseudoSpeaker, cut_frames, hide_bands


def tone(frequency, seconds=0.5):
    return np.sin(2 * np.pi * frequency * np.arange(round(16000 * seconds)) / 16000).astype(np.float32)


def log_mel(waveform):
    return EmoIclFeatureExtractor()(waveform)["input_features"][0]


def test_a_factor_of_one_changes_nothing():
    utterance = torch.randn(80, 37)
    torch.testing.assert_close(PseudoSpeaker()(utterance), utterance)


@pytest.mark.parametrize("warp", [0.9, 1.1])
def test_the_voice_is_that_of_scaled_frequencies(warp):
    """Features of a tone, warped, peak where those of a tone of the frequency over `warp` do."""
    for frequency in (400, 1500, 4000):
        warped = PseudoSpeaker(warp=warp)(log_mel(tone(frequency)))
        expected = log_mel(tone(frequency / warp))
        assert abs(int(warped.mean(1).argmax()) - int(expected.mean(1).argmax())) <= 1


@pytest.mark.parametrize("tempo, num_frames", [(0.9, 36), (1.1, 44)])
def test_tempo_changes_the_length_alone(tempo, num_frames):
    ramp = torch.linspace(0, 1, 40).expand(80, -1)
    slower = PseudoSpeaker(tempo=tempo)(ramp)
    assert slower.shape == (80, num_frames)
    torch.testing.assert_close(
        slower[0].diff()[2:-2], torch.full((num_frames - 5,), 1 / 39 / tempo), rtol=0.02, atol=0
    )


def test_the_shortest_utterance_stays_long_enough():
    assert PseudoSpeaker(tempo=0.9)(torch.zeros(80, 10)).shape == (80, 10)


def test_factors_are_drawn_within_the_spread():
    rng = np.random.default_rng(0)
    drawn = np.array([(voice.warp, voice.tempo) for voice in (PseudoSpeaker.draw(0.1, rng) for _ in range(500))])
    assert drawn.min() > 0.9 and drawn.max() < 1.1
    assert drawn.std(0) == pytest.approx(0.2 / np.sqrt(12), rel=0.1)
    assert PseudoSpeaker.draw(0.0, rng) == PseudoSpeaker()


def test_cutting_keeps_frames_in_their_order():
    utterance = torch.arange(50.0).expand(80, -1)
    starts = {int(cut_frames(utterance, 30, np.random.default_rng(seed))[0, 0]) for seed in range(200)}
    assert starts == set(range(21))
    cut = cut_frames(utterance, 30, np.random.default_rng(0))
    assert cut.shape == (80, 30) and (cut.diff() == 1).all()
    assert cut_frames(utterance, 60, np.random.default_rng(0)).shape == (80, 50)


def test_hidden_bands_are_within_their_share():
    utterance = torch.randn(80, 100)
    most = [0, 0]
    for seed in range(200):
        hidden = hide_bands(utterance, 0.2, np.random.default_rng(seed))
        changed = hidden != utterance
        rows, columns = changed.all(1), changed.all(0)
        assert (changed == (rows[:, None] | columns)).all()
        assert (hidden[changed] == utterance.mean()).all()
        most = [max(most[0], int(rows.sum())), max(most[1], int(columns.sum()))]
    assert most == [16, 20]
    assert torch.equal(hide_bands(utterance, 0.0, np.random.default_rng(0)), utterance)
