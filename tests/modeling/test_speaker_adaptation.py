"""The closed form against its definition: Gaussians over the enrollment and the target, and two probes."""

import functools
from itertools import product
from typing import Any, cast

import numpy as np
import pytest
import torch
from tiny import EOS
from torch.distributions import MultivariateNormal, Normal
from torch.testing import assert_close

from emoicl.modeling.adaptation_emoicl import (
    LEFT_OF_ENROLLED,
    NONE_OF_THEM,
    SHARPNESS,
    EmoIclSpeakerAdaptation,
    pool_statistics,
)
from emoicl.modeling.blend_emoicl import label_token_bias
from emoicl.modeling.configuration_emoicl import EmoIclAdaptationConfig
from emoicl.modeling.speaker_posterior_emoicl import (
    PLAIN_PRIOR,
    PROMPT_SCALES,
    PriorScales,
    membership,
    speaker_posterior,
)


# Three known labels and two that only an enrollment can tell about.
LABELS = {"a": [10, EOS], "b": [11, 12, EOS], "c": [11, EOS], "x": [20, 21, 22, EOS], "y": [20, EOS]}
KNOWN = "abc"
SIZE = 2
PROBE_WEIGHT, PROTOTYPE_WEIGHT = 0.7, 0.4


def make_adaptation(labels: str = KNOWN, **fields: Any) -> EmoIclSpeakerAdaptation:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "size": SIZE,
        "feature_size": 4,
        "label_words": list(labels),
        "label_token_ids": [LABELS[label] for label in labels],
        "probe_weight": PROBE_WEIGHT,
        "prototype_weight": PROTOTYPE_WEIGHT,
    }
    config = EmoIclAdaptationConfig(**(defaults | fields))
    module = EmoIclSpeakerAdaptation(config).double()
    for parameter in module.parameters():
        parameter.data.normal_(std=0.5)
    return module


@pytest.fixture(params=[0.0, 0.5])
def adaptation(request):
    return make_adaptation(enrolled_share_exponent=request.param)


def under_plain_prior(module, voices, index, tokens):
    """What the module gives without looking for the prior of a prompt."""
    label_tokens, slots, active = module.label_slots(tokens, index[:, 1:] >= 0)
    evidence = module.evidence(voices, index, slots, label_tokens.shape[1], PLAIN_PRIOR, active)
    return label_tokens, evidence.masked_fill(~active, float("-inf"))


def batch(episodes):
    """Index and label tokens of a batch of `(labels of the shots, their utterances, target)`; a label may be None."""
    num_shots = max(len(labels) for labels, _, _ in episodes)
    length = max(map(len, LABELS.values()))
    index = torch.full((len(episodes), num_shots + 1), -1)
    tokens = torch.full((len(episodes), num_shots, length), -100)
    for row, (labels, shots, target) in enumerate(episodes):
        index[row, : len(shots) + 1] = torch.tensor([*shots, target])
        for column, label in enumerate(labels):
            if label is not None:
                tokens[row, column, : len(LABELS[label])] = torch.tensor(LABELS[label])
    return index, tokens


def read(tokens, evidence):
    """Evidence by label, of one prompt; a label that stands twice would be an error."""
    found = [
        (next(label for label, ids in LABELS.items() if ids == row[row >= 0].tolist()), value.item())
        for row, value in zip(tokens, evidence, strict=True)
        if value.isfinite()
    ]
    assert len(found) == len(dict(found))
    return dict(found)


def scaled_prior(module, scales=(1.0, 1.0, 1.0)):
    """Variances and label means of the first source, under factors for speaker, noise and means."""
    variance = {component: log.detach()[0].exp() for component, log in module.log_variances.named_parameters()}
    variance["speaker"], variance["noise"] = scales[0] * variance["speaker"], scales[1] * variance["noise"]
    return variance, dict(zip(KNOWN, scales[2] * module.label_means.detach()[0], strict=True))


def conditional(prior, voices, labels, shots, label=None):
    """Mean and variance of the speaker, or of an utterance with `label`, given the enrollment: from the joint
    covariance of all of them."""
    variance, means = prior

    def mean(label):
        return means[label] if label in means else torch.zeros(SIZE).double()

    def covariance(i, j):
        shared = variance["speaker"].clone()
        if labels[i] == labels[j]:
            shared += variance["speaker_label"] + variance["unknown_label"] * (labels[i] not in KNOWN)
        return shared + variance["noise"] * (i == j)

    prior = variance["speaker"].clone()
    if label is not None:
        prior += variance["speaker_label"] + variance["unknown_label"] * (label not in KNOWN) + variance["noise"]
    results = torch.empty(2, SIZE).double()
    for d in range(SIZE):
        together = torch.tensor([[covariance(i, j)[d] for j in range(len(labels))] for i in range(len(labels))])
        cross = torch.tensor(
            [
                variance["speaker"][d]
                + (one == label) * (variance["speaker_label"] + variance["unknown_label"] * (one not in KNOWN))[d]
                for one in labels
            ]
        ).double()
        residuals = torch.tensor([(voices[shot] - mean(one))[d] for one, shot in zip(labels, shots, strict=True)])
        gain = torch.linalg.solve(together.double(), cross) if labels else cross
        results[0, d] = gain @ residuals.double()
        results[1, d] = prior[d] - gain @ cross
    return (results[0] + (mean(label) if label is not None else 0)), results[1]


def meanings(probed, voices, labels, shots):
    """How probably each label that is not known means which known one, or none: its shots tell, and the others."""
    found = {}
    for label in sorted(set(labels) - {*KNOWN, None}):
        said = torch.stack([voices[shot] for one, shot in zip(labels, shots, strict=True) if one == label]).mean(0)
        heard = probed(said) ** SHARPNESS
        one = torch.cat([(1 - NONE_OF_THEM) * heard / heard.sum(), torch.tensor([NONE_OF_THEM / len(KNOWN)])])
        found[label] = one / one.sum()
    for _ in range(8):
        meant = torch.stack(list(found.values())).sum(0)
        for column, known in enumerate(KNOWN):
            most = LEFT_OF_ENROLLED if known in labels else 1.0
            for one in found.values():
                one[column] *= min(1.0, most / meant[column].item())
        found = {label: one / one.sum() for label, one in found.items()}
    return found


def brute_force(module, voices, labels, shots, target, label, scales=(1.0, 1.0, 1.0)):
    """The evidence under one prior, by its definition."""
    x = voices[target]
    prior = variance, means = scaled_prior(module, scales)
    center, uncertainty = conditional(prior, voices, labels, shots)
    certainty = 1 - uncertainty.sum() / variance["speaker"].sum()
    # The probes know the labels as they sound in the training corpora, whatever the prior says of that.
    by_known_means, _ = conditional(scaled_prior(module, (*scales[:2], 1.0)), voices, labels, shots)

    def probed(utterance):
        plain, personal = (
            probe((utterance - by_known_means)[None])[0, 0].log_softmax(-1)
            for probe in (module.probe, module.centered_probe)
        )
        return ((1 - certainty) * plain + certainty * personal).softmax(-1)

    probe_weight = PROBE_WEIGHT * (1 + scales[2]) / 2
    by_probe = probed(x) ** probe_weight
    if label in KNOWN:
        by_probe = by_probe[KNOWN.index(label)]
    else:
        by_probe = meanings(probed, voices, labels, shots)[label] @ torch.cat([by_probe, by_probe.mean()[None]])

    share = len(set(labels)) / len(set(KNOWN) | set(labels))
    weight = PROTOTYPE_WEIGHT * min(scales[1], 1) ** 2 * share**module.config.enrolled_share_exponent

    def by_prototype(label):
        mean, spread = conditional(prior, voices, labels, shots, label)
        return weight * Normal(mean, spread.sqrt()).log_prob(x).sum()

    if label in KNOWN:
        # Another label of the same mean, whose manner the enrollment does not show.
        unseen_mean = center + means[label]
        unseen_variance = conditional(prior, voices, [], [], label)[1] - variance["speaker"] + uncertainty
        other = weight * Normal(unseen_mean, unseen_variance.sqrt()).log_prob(x).sum()
    else:
        other = torch.stack([by_prototype(one) for one in KNOWN]).exp().mean().log()
    return (by_probe.log() + by_prototype(label) - other).item()


def log_likelihood(module, voices, labels, utterances, scales):
    """Log-density of utterances with these labels under a prior: from the joint covariance of all of them."""
    variance, means = scaled_prior(module, scales)
    same = torch.tensor([[one == other for other in labels] for one in labels])
    total = 0.0
    for d in range(SIZE):
        of_labels = [
            variance["speaker_label"][d] + variance["unknown_label"][d] * (one not in KNOWN) for one in labels
        ]
        covariance = variance["speaker"][d] + torch.eye(len(labels)).double() * variance["noise"][d]
        covariance = covariance + same * torch.stack(of_labels)
        mean = torch.tensor([means[label][d].item() if label in means else 0.0 for label in labels]).double()
        total += MultivariateNormal(mean, covariance).log_prob(voices[utterances, d]).item()
    return total


def test_log_likelihood_is_that_of_the_joint_gaussian(adaptation):
    labels, shots = ["a", "x", "a", "c", "a"], [3, 1, 4, 0, 5]
    voices = torch.randn(6, SIZE, generator=torch.Generator().manual_seed(1))
    slots = torch.tensor([[list(LABELS).index(label) for label in labels]])
    prior = adaptation.prior(len(LABELS), PriorScales((1.0, 8.0), (1.0, 0.35), (1.0, 0.0)))
    of_label = membership(slots, torch.ones(1, len(shots)).bool(), len(LABELS))
    found = speaker_posterior(voices[shots][None, None], of_label, prior)
    found = found.log_likelihood[..., 0, 0]
    # Up to a constant, which is that of a prior with other scales.
    for place, scales in (((1, 0, 0), (8, 1, 1)), ((0, 1, 0), (1, 0.35, 1)), ((1, 1, 1), (8, 0.35, 0))):
        of_scaled, of_plain = (
            log_likelihood(adaptation, voices.double(), labels, shots, one) for one in (scales, (1, 1, 1))
        )
        assert (found[place] - found[0, 0, 0]).item() == pytest.approx(of_scaled - of_plain, rel=1e-4)


@pytest.mark.parametrize("labels", ["a", "cxc"])
def test_evidence_is_the_mean_over_priors_by_how_probable_they_make_the_prompt(adaptation, labels):
    voices = 2 * torch.randn(4, SIZE, generator=torch.Generator().manual_seed(2)).double()
    *shots, target = range(len(labels) + 1)
    possible = sorted(set(KNOWN) | set(labels))
    shares, evidence = [], []
    for scales in product(*PROMPT_SCALES):
        of_labels = [
            log_likelihood(adaptation, voices, [*labels, label], [*shots, target], scales) for label in possible
        ]
        shares.append(torch.tensor(of_labels).logsumexp(0))
        evidence.append([brute_force(adaptation, voices, labels, shots, target, label, scales) for label in possible])
    expected = torch.stack(shares).softmax(0) @ torch.tensor(evidence)
    tokens, found = adaptation(voices, *batch([(labels, shots, target)]))[:2]
    assert read(tokens[0], found[0]) == pytest.approx(dict(zip(possible, expected.tolist(), strict=True)), rel=1e-4)


def test_a_shot_from_another_room_does_not_name_everything(adaptation):
    """Far from all that the prior knows, a shot resembles any utterance from there, whatever its label."""
    adaptation.config.prototype_weight = 1.0
    voices = 20 + adaptation.label_means[0, :2].detach()
    prompt = batch([(["a"], [0], 1)])

    def probability(tokens, evidence):
        return torch.tensor([*read(tokens[0], evidence[0]).values()]).softmax(0)[0]

    assert probability(*under_plain_prior(adaptation, voices, *prompt)) > 0.9
    assert probability(*adaptation(voices, *prompt)[:2]) < 0.6


@pytest.mark.parametrize("label", KNOWN)
def test_what_sounds_like_the_only_shot_is_heard_as_its_label(adaptation, label, monkeypatch):
    """Even where labels sound otherwise: if the shot's label were taken for a part of the speaker, it would be the one
    that is never heard."""

    def otherwise(posterior, log_densities):
        shares = torch.zeros_like(log_densities[..., 0])
        shares[0, 0, PROMPT_SCALES.means.index(0)] = 1
        return shares

    monkeypatch.setattr(adaptation, "prior_shares", otherwise)
    adaptation.config.prototype_weight, adaptation.config.probe_weight = 0.0, 1.0
    adaptation.log_variances.speaker.data.add_(5)  # all of the shift is the speaker's
    means = adaptation.label_means.detach()
    for probe in (adaptation.probe, adaptation.centered_probe):
        probe.weight.data, probe.bias.data = 20 * means, -10 * means.square().sum(-1)
    voices = 20 + means[0, [KNOWN.index(label)] * 2]
    tokens, evidence = adaptation(voices, *batch([([label], [0], 1)]))[:2]
    found = read(tokens[0], evidence[0])
    assert max(found, key=lambda one: found[one]) == label


@pytest.mark.parametrize("seed", range(5))
def test_evidence_is_that_of_the_joint_gaussian(adaptation, seed):
    random = np.random.default_rng(seed)
    voices = torch.randn(9, SIZE, generator=torch.Generator().manual_seed(seed)).double()
    episodes = []
    for num_shots in (4, 0, 1, 7):
        *shots, target = random.permutation(9)[: num_shots + 1].tolist()
        episodes.append((random.choice(list(LABELS), num_shots).tolist(), shots, target))
    tokens, evidence = under_plain_prior(adaptation, voices, *batch(episodes))
    for row, (labels, shots, target) in enumerate(episodes):
        found = read(tokens[row], evidence[row])
        assert set(found) == set(KNOWN) | set(labels)
        for label, value in found.items():
            expected = brute_force(adaptation, voices, labels, shots, target, label)
            assert value == pytest.approx(expected, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("labels", ["abc", "aab", "xyx", "xbx"])
def test_the_order_of_the_shots_does_not_matter(adaptation, labels):
    voices = torch.randn(4, SIZE).double()
    shots = list(range(3))
    order = [2, 0, 1]
    forth = adaptation(voices, *batch([(labels, shots, 3)]))[:2]
    other = adaptation(voices, *batch([([labels[i] for i in order], [shots[i] for i in order], 3)]))[:2]
    assert read(*map(torch.squeeze, forth)) == pytest.approx(read(*map(torch.squeeze, other)), abs=1e-5)


def test_without_enrollment_the_evidence_is_the_probes(adaptation):
    voices = torch.randn(4, SIZE).double()
    tokens, evidence = adaptation(voices, *batch([("", [], 3), ("ax", [0, 1], 2)]))[:2]
    expected = PROBE_WEIGHT * adaptation.probe(voices[3:])[0, 0].log_softmax(-1)
    assert read(tokens[0], evidence[0]) == pytest.approx(dict(zip(KNOWN, expected.tolist(), strict=True)), abs=1e-5)
    alone = adaptation(voices, torch.tensor([[3]]), torch.full((1, 0, 1), -100))[:2]
    assert read(alone[0][0], alone[1][0]) == pytest.approx(read(tokens[0], evidence[0]), abs=1e-5)


def test_a_prompt_alone_is_as_in_a_batch_with_longer_ones(adaptation):
    voices = torch.randn(9, SIZE).double()
    short, long = ("ax", [0, 1], 2), ("abcxyab", [2, 3, 4, 5, 6, 7, 0], 8)
    alone, in_batch = adaptation(voices, *batch([short]))[:2], adaptation(voices, *batch([short, long]))[:2]
    expected, found = read(alone[0][0], alone[1][0]), read(in_batch[0][0], in_batch[1][0])
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_shot_speaks_for_its_own_label(adaptation):
    adaptation.config.probe_weight = 0.0
    voices = torch.full((2, SIZE), 3.0).double()
    for label in LABELS:
        found = read(*map(torch.squeeze, adaptation(voices, *batch([(label, [0], 1)]))[:2]))
        assert max(found, key=found.__getitem__) == label
        assert found.pop(label) > 0 and all(value == pytest.approx(0, abs=1e-5) for value in found.values())


def evidence_for_known(module, voices, labels, trust):
    """The evidence for the known labels under the plain prior: shots with these labels, which come first."""
    index, tokens = batch([(labels, list(range(len(labels))), len(labels))])
    label_tokens, slots, named = module.label_slots(tokens, index[:, 1:] >= 0)
    trust = torch.tensor([trust]).double()
    evidence = module.evidence(voices, index, slots, label_tokens.shape[1], PLAIN_PRIOR, named, trust)
    return evidence[0, : len(KNOWN)].detach()


def test_shots_without_labels_are_of_labels_that_nobody_asks_for(adaptation):
    """Each of its own, as of an unknown label that is not another's, where the probes are not trusted."""
    voices = 2 * torch.randn(4, SIZE, generator=torch.Generator().manual_seed(3)).double()
    found, expected, other = (
        evidence_for_known(adaptation, voices, labels, trust=0.0)
        for labels in (["a", None, None], ["a", "x", "y"], ["a", "x", "x"])
    )
    assert_close(found, expected)
    assert ((found - other).abs() > 1e-4).any()


def test_labels_with_shots_pay_the_penalty(adaptation):
    """As far as the probes are trusted; labels without shots, and those of shots that lack one, do not."""
    voices = 2 * torch.randn(4, SIZE, generator=torch.Generator().manual_seed(3)).double()
    shots = ["a", "b", None]
    for trust in (1.0, 0.25, 0.0):
        adaptation.config.enrolled_penalty = 0.0
        without = evidence_for_known(adaptation, voices, shots, trust)
        adaptation.config.enrolled_penalty = 0.8
        paid = without - evidence_for_known(adaptation, voices, shots, trust)
        assert_close(paid, 0.8 * trust * torch.tensor([1.0, 1.0, 0.0]).double())


def test_shots_without_labels_have_those_that_the_probes_hear():
    """As far as these are trusted: all the way, they count as if they had been told."""
    module = make_adaptation(enrolled_share_exponent=0.0)
    for probe in (module.probe, module.centered_probe):
        probe.weight.data.zero_()
        probe.bias.data.copy_(torch.tensor([[0.0, 200.0, 0.0]]))
    voices = torch.randn(4, SIZE, generator=torch.Generator().manual_seed(3)).double()
    told, guessed, half, unknown = (
        evidence_for_known(module, voices, labels, trust)
        for labels, trust in (
            (["a", "b", "b"], 1.0),
            (["a", None, None], 1.0),
            (["a", None, None], 0.5),
            (["a", "x", "y"], 0.5),
        )
    )
    assert_close(guessed, told)
    assert ((half - unknown).abs() > 1e-4).any() and ((half - told).abs() > 1e-4).any()


def test_shots_without_labels_may_be_swapped(adaptation):
    voices = torch.randn(4, SIZE).double()
    forth, back, mixed = (
        read(*map(torch.squeeze, adaptation(voices, *batch([(labels, shots, 3)]))[:2]))
        for labels, shots in (
            ([None, None, "b"], [0, 1, 2]),
            ([None, None, "b"], [1, 0, 2]),
            (["b", None, None], [2, 1, 0]),
        )
    )
    assert all(np.isfinite(value) for value in forth.values())
    assert back == pytest.approx(forth, abs=1e-5) and mixed == pytest.approx(forth, abs=1e-5)


def test_shots_without_labels_move_the_speakers_center():
    module, voices = make_adaptation(), torch.tensor([[5.0, -5.0], [5.0, -5.0], [0.0, 0.0]])
    _, slots, _ = module.label_slots(batch([([None, None], [0, 1], 2)])[1], torch.ones(1, 2).bool())
    assert slots.tolist() == [[3, 4]]
    prior, is_shot = module.float().prior(5), torch.ones(1, 2).bool()
    posteriors = [
        speaker_posterior(
            voices[:num_shots][None, None], membership(slots[:, :num_shots], is_shot[:, :num_shots], 5), prior
        )
        for num_shots in (0, 1, 2)
    ]
    distances = [(posterior.center - voices[0]).norm().item() for posterior in posteriors]
    assert distances[0] > distances[1] > distances[2] > 0
    variances = [posterior.variance.sum().item() for posterior in posteriors]
    assert variances[0] > variances[1] > variances[2] > 0


@pytest.mark.parametrize("prototype_weight", [0.0, 0.2])
def test_of_a_new_speaker_shots_without_labels_tell(prototype_weight):
    """Utterances of speakers as the model has them are recognized better, the more of their voices is heard."""
    size, generator = 6, torch.Generator().manual_seed(0)
    module = make_adaptation(size=size, feature_size=size, probe_weight=1.0, prototype_weight=prototype_weight)
    normal = functools.partial(torch.randn, generator=generator)
    variances = {"speaker": 4.0, "speaker_label": 0.1, "unknown_label": 1.0, "noise": 0.5}
    with torch.no_grad():
        means = module.label_means.copy_(normal(1, len(KNOWN), size))
        for component, variance in variances.items():
            module.log_variances.get_parameter(component).fill_(np.log(variance))
        within = variances["speaker_label"] + variances["noise"]
        # The posterior of the label, from an utterance as it is and from one whose speaker is known.
        for probe, variance in ((module.probe, within + variances["speaker"]), (module.centered_probe, within)):
            probe.weight.copy_(means / variance)
            probe.bias.copy_(-means.square().sum(-1) / (2 * variance))
    losses = {}
    for num_shots in (0, 3, 7):
        of_speakers = []
        for _ in range(200):
            labels = torch.randint(len(KNOWN), (num_shots + 1,), generator=generator)
            manner = variances["speaker_label"] ** 0.5 * normal(len(KNOWN), size)
            voices = (means[0] + manner)[labels] + variances["speaker"] ** 0.5 * normal(size)
            voices = voices + variances["noise"] ** 0.5 * normal(num_shots + 1, size)
            prompt = batch([([None] * num_shots, list(range(num_shots)), num_shots)])
            _, evidence = under_plain_prior(module, voices.double(), *prompt)
            of_speakers.append(-evidence[0, : len(KNOWN)].log_softmax(-1)[labels[-1]].item())
        losses[num_shots] = np.mean(of_speakers)
    # What one alone shows of its speaker is mixed with what its label sounds like.
    assert losses[0] > losses[3] + 0.05 and losses[3] > losses[7] + 0.2, losses


def hearing_adaptation():
    """A probe that hears the sign of the first dimension: `a` above 0, `b` and `c` below, `b` a little less so."""
    module = make_adaptation()
    for name, parameter in module.named_parameters():
        parameter.data.zero_()
        if "probe.weight" in name:
            parameter.data[0, :, 0] = torch.tensor([2.0, -1.0, -1.2])
    cast(Any, module.log_variances).speaker.data.fill_(-9.0)
    return module


@pytest.mark.parametrize("others, answer", [("y", "y"), ("a", "a")])
def test_two_labels_of_an_enrollment_do_not_mean_the_same(others, answer):
    # Both shots sound like `a`, that of the other label more so.
    voices = torch.tensor([[0.5, 0.0], [2.0, 0.0], [1.5, 0.0]]).double()
    module = hearing_adaptation()
    together = read(*(of[0] for of in under_plain_prior(module, voices, *batch([(["x", others], [0, 1], 2)]))))
    alone = read(*(of[0] for of in under_plain_prior(module, voices, *batch([(["x"], [0], 2)]))))
    assert max(together, key=lambda label: together[label]) == answer
    assert together["x"] < alone["x"] - 0.1


def test_shots_without_labels_take_no_meaning_from_others():
    voices = torch.tensor([[0.5, 0.0], [2.0, 0.0], [1.5, 0.0]]).double()
    module = hearing_adaptation()
    index, shot_labels = batch([(["x", None], [0, 1], 2)])
    tokens, slots, active = module.label_slots(shot_labels, index[:, 1:] >= 0)
    both = module.evidence(voices, index, slots, tokens.shape[1], PLAIN_PRIOR, active)
    told = module.evidence(voices, index, slots, tokens.shape[1], PLAIN_PRIOR, torch.ones_like(active))
    assert both[0, 3] > told[0, 3] + 0.1


def test_without_known_labels_the_enrollment_still_speaks():
    module, voices = make_adaptation(""), torch.randn(4, SIZE)
    found = read(*map(torch.squeeze, module(voices, *batch([("xyx", [0, 1, 2], 3)]))[:2]))
    assert set(found) == {"x", "y"}


def test_every_parameter_learns_and_no_gradient_is_lost(adaptation):
    voices = torch.randn(4, SIZE).double().requires_grad_()
    tokens, evidence = adaptation(voices, *batch([("axx", [0, 1, 2], 3), ("", [], 1)]))[:2]
    bias = label_token_bias(torch.tensor([[0, 11], [0, 11]]), tokens, evidence, vocab_size=30)
    (bias * torch.randn_like(bias)).sum().backward()
    gradients = {name: weight.grad for name, weight in adaptation.named_parameters()}
    gradients = {name: gradient for name, gradient in gradients.items() if not name.startswith("projection")}
    gradients["voices"] = voices.grad
    for name, gradient in gradients.items():
        assert gradient is not None and gradient.isfinite().all() and gradient.any(), name


@pytest.mark.parametrize("sources", [[], ["studio"]])
def test_one_export_takes_any_number_of_prompts_and_shots(sources):
    module = make_adaptation(sources=sources).eval()
    voices = torch.randn(9, (1 + len(sources)) * SIZE)
    few, many = (
        [("ax", [0, 1], 2), ("abcx", [2, 3, 4, 5], 6)],
        [("abcxyab", [2, 3, 4, 5, 6, 7, 0], 8), ("", [], 1)] * 2,
    )
    anything = torch.export.Dim.AUTO
    shapes = ({0: anything}, {0: anything, 1: anything}, {0: anything, 1: anything, 2: anything})
    exported = torch.export.export(module, (voices, *batch(few)), dynamic_shapes=shapes).module()
    for episodes in (few, many):
        assert_close(exported(voices, *batch(episodes)), module(voices, *batch(episodes)))
    alone = (voices, *batch([("", [], 3)]))
    assert_close(torch.export.export(module, alone).module()(*alone), module(*alone))


def test_voices_are_pooled_over_real_frames():
    frames = torch.randn(2, 7, 3)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    pooled = pool_statistics(frames, mask)
    expected = torch.cat([frames[1, :4].mean(0), frames[1, :4].std(0, correction=0)])
    assert_close(pooled[1], expected, atol=1e-5, rtol=1e-4)
    assert pool_statistics(frames[:, :1], mask[:, :1]).isfinite().all()


def bias_of_labels(labels, evidence, candidates=None):
    """Bias summed over the tokens of each candidate, by default the labels themselves."""
    tokens = [LABELS[label] if isinstance(label, str) else label for label in labels]
    length = max(map(len, tokens))
    padded = torch.tensor([ids + [-100] * (length - len(ids)) for ids in tokens])
    candidates = tokens if candidates is None else candidates
    sums = []
    for ids in candidates:
        decoder_input_ids = torch.tensor([[0, *ids[:-1]]])
        bias = label_token_bias(decoder_input_ids, padded[None], torch.as_tensor(evidence)[None], vocab_size=30)
        assert bias.shape == (1, len(ids), 30)
        sums.append(bias[0, torch.arange(len(ids)), ids].sum())
    return torch.stack(sums)


@pytest.mark.parametrize(
    "labels",
    [
        "abc",
        pytest.param("bcxy", id="shared first tokens"),
        pytest.param([[7, 8, EOS], [7, 8, 9, EOS], [7, EOS], [6, EOS]], id="prefixes of one another"),
        pytest.param([[7, 7, EOS], [7, 8, 7, EOS], [8, 7, 7, EOS]], id="tokens repeated"),
    ],
)
def test_bias_adds_up_to_the_evidence_less_the_same_for_all(labels):
    evidence = 3 * torch.randn(len(labels), generator=torch.Generator().manual_seed(0))
    expected = evidence - (evidence.logsumexp(0) - np.log(len(labels)))
    assert_close(bias_of_labels(labels, evidence), expected, atol=1e-5, rtol=1e-5)


def test_equal_evidence_is_no_evidence():
    evidence = torch.full((4,), 1.7)
    padded = torch.tensor([ids + [-100] * (4 - len(ids)) for ids in (LABELS[label] for label in "bcxy")])
    for start in ([0], [0, 11], [0, 20, 21, 22], [0, 5, 5]):
        bias = label_token_bias(torch.tensor([start]), padded[None], evidence[None], vocab_size=30)
        assert_close(bias, torch.zeros(1, len(start), 30))


def test_labels_without_evidence_are_as_if_not_there():
    evidence = torch.tensor([0.3, -1.0, float("-inf"), 2.0])
    listed = bias_of_labels("abxy", evidence)
    assert_close(listed[[0, 1, 3]], bias_of_labels("aby", evidence[[0, 1, 3]]))
    assert_close(bias_of_labels("xab", torch.tensor([float("-inf"), 0.3, -1.0]), [[20, 21, 22, EOS]]), torch.zeros(1))


def test_other_tokens_have_no_bias():
    bias = label_token_bias(
        torch.tensor([[0, 11, 12, EOS]]), torch.tensor([[LABELS["b"], [10, EOS, -100]]]), torch.tensor([[1.0, -1]]), 30
    )
    assert [row.nonzero().flatten().tolist() for row in bias[0]] == [[10, 11], [], [], []]


def test_gradients_of_the_bias_are_finite_where_evidence_is_not():
    evidence = torch.tensor([[0.3, float("-inf"), -1.0], [float("-inf")] * 3], requires_grad=True)
    tokens = torch.tensor([[ids + [-100] * (3 - len(ids)) for ids in (LABELS[label] for label in "abc")]] * 2)
    bias = label_token_bias(torch.tensor([[0, 11, 12], [0, 10, EOS]]), tokens, evidence, vocab_size=30)
    (gradient,) = torch.autograd.grad(bias.square().sum(), evidence)
    assert bias.isfinite().all() and gradient.isfinite().all()
    assert gradient[0, [0, 2]].all() and not gradient[0, 1]
    assert not gradient[1].any() and not bias[1].any()
