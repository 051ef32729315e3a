import pytest
import torch
from test_speaker_adaptation import SIZE, batch, make_adaptation, read
from tiny import EOS, label_ids, tiny_adaptation, tiny_batch, tiny_model
from torch.testing import assert_close

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration


SOURCES = ["studio", "street"]
NUM_SOURCES = 1 + len(SOURCES)


@pytest.fixture
def adaptation():
    return make_adaptation(sources=SOURCES)


def hears(adaptation, logits):
    """Whatever is said, the classifier of sources gives it these logits."""
    adaptation.source_classifier.weight.data.zero_()
    adaptation.source_classifier.bias.data = torch.tensor(logits)


def of_source(adaptation, source):
    """The adaptation of one source alone."""
    alone = make_adaptation()
    state = {name: weight[source : source + 1] for name, weight in adaptation.state_dict().items()}
    alone.load_state_dict({name: weight for name, weight in state.items() if not name.startswith("source_classifier")})
    return alone


@pytest.mark.parametrize("source", range(NUM_SOURCES))
def test_a_sure_source_has_its_own_evidence(adaptation, source):
    hears(adaptation, [50.0 * (source == number) for number in range(NUM_SOURCES)])
    voices = torch.randn(5, NUM_SOURCES * SIZE).double()
    prompts = batch([("abx", [0, 1, 2], 3), ("", [], 4)])
    tokens, evidence = adaptation(voices, *prompts)[:2]
    own_tokens, own, _ = of_source(adaptation, source)(voices[:, source * SIZE : (source + 1) * SIZE], *prompts)
    assert_close(tokens, own_tokens)
    assert_close(evidence, own)


def test_between_two_sources_the_evidence_is_between_theirs(adaptation):
    hears(adaptation, [0.0, 0.0, -50.0])
    voices, prompts = torch.randn(4, NUM_SOURCES * SIZE).double(), batch([("ab", [0, 1], 2)])
    _, evidence = adaptation(voices, *prompts)[:2]
    parts = [of_source(adaptation, n)(voices[:, n * SIZE : (n + 1) * SIZE], *prompts)[1] for n in (0, 1)]
    active = evidence.isfinite()
    assert_close(evidence[active], ((parts[0] + parts[1]) / 2)[active])


def test_voices_of_each_source_stand_side_by_side(adaptation):
    frames, mask = torch.randn(3, 7, 2).double(), torch.ones(3, 7)
    voices = adaptation.embed(frames, mask)
    assert voices.shape == (3, NUM_SOURCES * SIZE)
    for source in range(NUM_SOURCES):
        own = of_source(adaptation, source).embed(frames, mask)
        assert_close(voices[:, source * SIZE : (source + 1) * SIZE], own)


def test_a_prompt_alone_is_as_in_a_batch_with_longer_ones_in_any_order(adaptation):
    voices = torch.randn(9, NUM_SOURCES * SIZE).double()
    short, turned, long = ("ax", [0, 1], 2), ("xa", [1, 0], 2), ("abcxyab", [2, 3, 4, 5, 6, 7, 0], 8)
    alone = adaptation(voices, *batch([short]))[:2]
    together = adaptation(voices, *batch([short, long, turned]))[:2]
    expected = read(alone[0][0], alone[1][0])
    for row in (0, 2):
        assert read(together[0][row], together[1][row]) == pytest.approx(expected, abs=1e-5)


def test_saved_and_reloaded_it_gives_the_same_logits(tmp_path):
    model = tiny_model(adaptation_config=tiny_adaptation(sources=SOURCES))
    model.save_pretrained(tmp_path)
    loaded = EmoIclForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert loaded.config.adaptation_config.sources == SOURCES
    inputs = tiny_batch() | {"labels": label_ids([10, EOS], [11, 12, EOS], [10, EOS])}
    assert_close(loaded(**inputs).logits, model(**inputs).logits)
