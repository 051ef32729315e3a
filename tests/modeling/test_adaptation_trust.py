"""By which share what was learned from training speakers counts for a prompt."""

from typing import Any

import pytest
import torch
from test_speaker_adaptation import KNOWN, SIZE, batch, make_adaptation, read
from tiny import tiny_adaptation, tiny_batch, tiny_model
from torch.testing import assert_close

from emoicl.modeling import adaptation_emoicl
from emoicl.modeling.adaptation_emoicl import FAMILIAR_TRUST, TRUST_STEPS
from emoicl.modeling.familiarity_emoicl import NUM_QUANTILES, UNFAMILIAR
from emoicl.modeling.speaker_posterior_emoicl import PLAIN_PRIOR, membership, speaker_posterior


STEPS = torch.tensor(TRUST_STEPS).double()
UNIFORM = torch.full((len(STEPS),), 1 / len(STEPS)).double()
WHERE_FAMILIAR = torch.where(STEPS == 1, FAMILIAR_TRUST, (1 - FAMILIAR_TRUST) / (len(STEPS) - 1)).double()


@pytest.fixture
def adaptation():
    return make_adaptation(familiarity_size=2)


def some_voices(familiar, seed=0):
    """Voice embeddings of utterances that sound so familiar."""
    familiar = torch.as_tensor(familiar).double()
    voices = 2 * torch.randn(len(familiar), SIZE, generator=torch.Generator().manual_seed(seed)).double()
    return torch.cat([voices, familiar[:, None]], dim=-1)


def trust(adaptation, voices, *episodes):
    return adaptation(voices, *batch(episodes))[2]


@pytest.mark.parametrize(
    ("familiar", "expected"),
    [
        (0.5, WHERE_FAMILIAR),
        (UNFAMILIAR, WHERE_FAMILIAR),
        (0.0, UNIFORM),
        (UNFAMILIAR / 2, (WHERE_FAMILIAR + UNIFORM) / 2),
    ],
)
def test_without_shots_it_is_by_how_familiar_the_target_sounds(adaptation, familiar, expected):
    assert_close(trust(adaptation, some_voices([familiar]), ("", [], 0))[0], expected @ STEPS)


def test_it_is_by_the_mean_over_a_prompts_utterances(adaptation):
    voices = some_voices([0.0, 0.7, 0.0, 0.9])
    found = trust(adaptation, voices, ("xy", [1, 3], 0), ("", [], 2))
    assert_close(found, torch.stack([(2 * WHERE_FAMILIAR + UNIFORM) / 3 @ STEPS, UNIFORM @ STEPS]))


@pytest.mark.parametrize("label", KNOWN)
def test_one_shot_tells_by_how_probable_the_probe_makes_its_label(adaptation, label):
    """From no other shot: the probe hears it as it is."""
    voices = some_voices([0.0, 0.0])
    heard = adaptation.probe(voices[:1, :SIZE])[0, 0]
    told = torch.stack([(step * heard).softmax(-1)[KNOWN.index(label)] for step in STEPS])
    assert_close(trust(adaptation, voices, (label, [0], 1))[0], (told / told.sum()) @ STEPS)


def test_each_of_more_shots_is_heard_around_the_speaker_that_the_others_show(adaptation, monkeypatch):
    voices = some_voices([0.0] * 3)
    prior = adaptation.prior(len(KNOWN))
    told = UNIFORM.clone()
    for shot, other, label in ((0, 1, "a"), (1, 0, "b")):
        slots = torch.tensor([[KNOWN.index("ba"[shot])]])
        shots = voices[None, None, [other], :SIZE]
        posterior = speaker_posterior(shots, membership(slots, torch.ones(1, 1).bool(), len(KNOWN)), prior)
        certainty = 1 - posterior.variance.sum(-1, keepdim=True) / prior.speaker.sum(-1, keepdim=True)
        heard = adaptation.probe_log_probabilities(voices[None, [shot], :SIZE] - posterior.center, certainty)
        told = told * (STEPS[:, None] * heard.reshape(1, -1)).softmax(-1)[:, KNOWN.index(label)]
    monkeypatch.setattr(adaptation_emoicl, "PROMPT_SCALES", PLAIN_PRIOR)
    found = trust(adaptation, voices, ("ab", [0, 1], 2))[0]
    assert_close(found, (told / told.sum()) @ STEPS)


def test_what_the_probe_has_right_makes_it_count_for_more_and_what_it_has_wrong_for_less(adaptation):
    adaptation.probe.weight.data.mul_(5)
    voices = some_voices([0.0] * 5, seed=3)
    by_probe = adaptation.probe(voices[:4, :SIZE])[0]
    right, wrong = ("".join(KNOWN[i] for i in by_probe.topk(3).indices[:, place].tolist()) for place in (0, 2))
    ordered = [trust(adaptation, voices, (labels[:1], [0], 4)).item() for labels in (wrong, "x", right)]
    assert ordered == sorted(ordered) and len(set(ordered)) == 3
    # Of unknown labels, and of none, nobody knows whether they are right.
    assert ordered[1] == pytest.approx((UNIFORM @ STEPS).item())
    assert trust(adaptation, voices, ([None], [0], 4)).item() == pytest.approx((UNIFORM @ STEPS).item())


def test_alone_in_a_batch_and_in_another_order(adaptation):
    voices = some_voices([0.0, 0.01, 0.02, 0.9, 0.03, 0.04, 0.5])
    short, long = ("ab", [0, 1], 2), (["a", None, "x", "c", "a"], [1, 2, 3, 4, 5], 6)
    alone, together = (trust(adaptation, voices, *episodes) for episodes in ((short,), (short, long)))
    assert_close(together[:1], alone)
    turned = (["c", "a", None, "a", "x"], [4, 5, 2, 1, 3], 6)
    assert_close(trust(adaptation, voices, turned), together[1:])


def test_the_probe_counts_by_it(adaptation):
    adaptation.config.prototype_weight = 0.0
    voices = some_voices([0.0])
    tokens, evidence, share = adaptation(voices, *batch([("", [], 0)]))
    expected = share * adaptation.config.probe_weight * adaptation.probe(voices[:, :SIZE])[0, 0].log_softmax(-1)
    assert [*read(tokens[0], evidence[0]).values()] == pytest.approx(expected.tolist())


def test_without_statistics_of_what_is_familiar_all_counts():
    voices = some_voices([0.0] * 3)[:, :SIZE]
    assert trust(make_adaptation(), voices, ("ab", [0, 1], 2)).tolist() == [1.0]


@pytest.mark.parametrize("sources", [[], ["studio"]])
def test_one_export_takes_any_number_of_prompts_and_shots(sources):
    module = make_adaptation(sources=sources, familiarity_size=2).eval()
    voices = torch.cat([torch.randn(9, (1 + len(sources)) * SIZE).double(), torch.rand(9, 1).double() / 9], dim=-1)
    few = [("ax", [0, 1], 2), ("abcx", [2, 3, 4, 5], 6)]
    many = [("abcxyab", [2, 3, 4, 5, 6, 7, 0], 8), ("", [], 1)] * 2
    anything = torch.export.Dim.AUTO
    shapes = ({0: anything}, {0: anything, 1: anything}, {0: anything, 1: anything, 2: anything})
    exported = torch.export.export(module, (voices, *batch(few)), dynamic_shapes=shapes).module()
    for episodes in (few, many):
        assert_close(exported(voices, *batch(episodes)), module(voices, *batch(episodes)))


@pytest.mark.parametrize(("edge", "prior"), [(90.0, WHERE_FAMILIAR), (-90.0, UNIFORM)])
def test_the_language_model_counts_by_it(edge, prior):
    """In scores and in the decoder: what sounds like nothing in training is told by less of it."""
    model: Any = tiny_model(adaptation_config=tiny_adaptation(familiarity_size=4, language_model_weight=0.8))
    adaptation = model.model.adaptation
    # A probe that has all labels alike is never right or wrong.
    for probe in (adaptation.probe, adaptation.centered_probe):
        probe.weight.data.zero_()
        probe.bias.data.zero_()
    familiarity = adaptation.familiarity
    familiarity.weight.fill_(0.1)
    familiarity.log_distances.copy_(torch.linspace(edge - 1, edge, NUM_QUANTILES))
    inputs = tiny_batch()
    encoded = model.model.encode(**inputs)
    weight = encoded.language_model_weight
    assert_close(weight, torch.full_like(weight, 0.8 * (prior @ STEPS).item()))

    tokens = inputs["input_ids"].new_tensor([[0, 10]] * len(weight))
    logits = torch.randn(len(weight), 2, model.config.text_config.vocab_size)
    biased = (model.add_evidence(factor * logits, encoded, tokens) for factor in (1, 2))
    assert_close(-next(biased) + next(biased), weight[:, None, None] * logits, atol=1e-5, rtol=1e-4)
    answers = torch.tensor([[10, 1], [11, 1]])
    found = model.score_labels(answers, **inputs)
    model.config.adaptation_config.language_model_weight = 0.0
    without = model.score_labels(answers, **inputs)
    model.config.adaptation_config.language_model_weight = 1.6
    twice = model.score_labels(answers, **inputs)
    odds = [scores[:, 0] - scores[:, 1] for scores in (without, found, twice)]
    assert_close(odds[1] - odds[0], odds[2] - odds[1], atol=1e-4, rtol=1e-4)
