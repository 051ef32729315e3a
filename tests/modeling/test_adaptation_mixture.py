import pytest
import torch
from test_speaker_adaptation import KNOWN, LABELS, SIZE, batch, read
from tiny import EOS, label_ids, tiny_batch, tiny_config, tiny_model
from torch.testing import assert_close

from emoicl.modeling.adaptation_emoicl import EmoIclAdaptationMixture
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration


SOURCES = ["studio", "street"]
NUM_SOURCES = 1 + len(SOURCES)


@pytest.fixture
def mixture():
    torch.manual_seed(0)
    known = [LABELS[label] for label in KNOWN]
    fields = {"adaptation_size": SIZE, "label_words": list(KNOWN), "label_token_ids": known}
    module = EmoIclAdaptationMixture(tiny_config(adaptation_sources=SOURCES, **fields)).double()
    for parameter in module.parameters():
        parameter.data.normal_(std=0.5)
    return module


def voices(num_utterances, source_logits):
    embeds = torch.randn(num_utterances, NUM_SOURCES * SIZE).double()
    return torch.cat([embeds, torch.tensor(source_logits).double().expand(num_utterances, -1)], dim=1)


@pytest.mark.parametrize("source", range(NUM_SOURCES))
def test_a_sure_source_has_its_own_evidence(mixture, source):
    embeds = voices(5, [50.0 * (source == number) for number in range(NUM_SOURCES)])
    prompts = batch([("abx", [0, 1, 2], 3), ("", [], 4)])
    tokens, evidence = mixture(embeds, *prompts)
    own_tokens, own = mixture.of_sources[source](embeds[:, source * SIZE : (source + 1) * SIZE], *prompts)
    assert_close(tokens, own_tokens)
    assert_close(evidence, own)


def test_between_two_sources_the_evidence_is_between_theirs(mixture):
    embeds, prompts = voices(4, [0.0, 0.0, -50.0]), batch([("ab", [0, 1], 2)])
    _, evidence = mixture(embeds, *prompts)
    parts = [mixture.of_sources[n](embeds[:, n * SIZE : (n + 1) * SIZE], *prompts)[1] for n in (0, 1)]
    active = evidence.isfinite()
    assert_close(evidence[active], ((parts[0] + parts[1]) / 2)[active])


def test_a_prompt_alone_is_as_in_a_batch_with_longer_ones_in_any_order(mixture):
    embeds = voices(9, [0.0] * NUM_SOURCES)
    embeds[:, -NUM_SOURCES:] = torch.randn(9, NUM_SOURCES)
    short, turned, long = ("ax", [0, 1], 2), ("xa", [1, 0], 2), ("abcxyab", [2, 3, 4, 5, 6, 7, 0], 8)
    alone = mixture(embeds, *batch([short]))
    together = mixture(embeds, *batch([short, long, turned]))
    expected = read(alone[0][0], alone[1][0])
    for row in (0, 2):
        assert read(together[0][row], together[1][row]) == pytest.approx(expected, abs=1e-5)


def test_saved_and_reloaded_it_gives_the_same_logits(tmp_path):
    model = tiny_model(adaptation_sources=SOURCES)
    model.save_pretrained(tmp_path)
    loaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert loaded.config.adaptation_sources == SOURCES
    inputs = tiny_batch() | {"labels": label_ids([10, EOS], [11, 12, EOS], [10, EOS])}
    assert_close(loaded(**inputs).logits, model(**inputs).logits)
