"""A batch of uneven utterances, run over groups of like length, against the same batch as one."""

import pytest
import torch
from tiny import tiny_model, tiny_speech
from torch.testing import assert_close

from emoicl.modeling import lengths_emoicl
from emoicl.modeling.lengths_emoicl import by_length, like_lengths


# Log-mel frames, of which groups of like length hold 2, 3 and 1.
UNEVEN = (63, 20, 60, 22, 7, 21)


def test_no_utterance_is_much_shorter_than_its_group():
    assert like_lengths([63, 20, 60, 22, 7, 21]) == [[0, 2], [3, 5, 1], [4]]
    lengths = torch.randint(25, 126, (200,)).tolist()
    groups = like_lengths(lengths)
    assert sorted(place for group in groups for place in group) == list(range(200))
    useful = sum(lengths) / sum(len(group) * lengths[group[0]] for group in groups)
    assert useful > 0.85 > sum(lengths) / (200 * max(lengths))


@pytest.mark.parametrize("kind", ["whisper", "emoicl"])
def test_groups_give_what_the_batch_gives(kind, monkeypatch):
    """Features, query tokens and gradients."""
    ran = []

    def outcome() -> dict[str, torch.Tensor]:
        model = tiny_model(speech=kind, freeze_speech_encoder=False, speech_layer=None)
        model.model.qformer.qformer.register_forward_hook(lambda *_: ran.append("Q-Former"))
        speech = tiny_speech(*UNEVEN)
        features, mask = model.get_speech_features(**speech)
        queries = model.get_audio_features(**speech)["query_embeds"]
        (queries.square().sum() + (features * mask[..., None]).square().sum()).backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        return {"features": features * mask[..., None], "queries": queries} | gradients

    grouped = outcome()
    assert len(ran) == 3
    monkeypatch.setattr(lengths_emoicl, "LIKE", 0)
    assert_close(outcome(), grouped, atol=1e-5, rtol=1e-4)
    assert len(ran) == 4


def test_what_is_padded_more_than_it_need_be_keeps_its_shape():
    mask = (torch.arange(9) < torch.tensor([[7], [2]])).long()
    frames = torch.randn(2, 9, 4)
    assert_close(by_length(lambda inputs, mask: inputs * mask[..., None], frames, mask, 1), frames * mask[..., None])
