import pytest
import torch
from tiny import (
    LABELS,
    label_ids,
    log_likelihoods,
    tiny_adaptation,
    tiny_batch,
    tiny_model,
    tiny_processor,
    tiny_prompts,
    tiny_speech,
)
from torch.testing import assert_close


JOY, SADNESS, ANGER = [10], [11, 12], [13, 14, 15]
TARGETS = label_ids([10, 1], [11, 12, 1], [13, 14, 15, 1])
PARTS = [("whisper", "t5"), ("emoicl", "t5"), ("whisper", "bart"), ("whisper", "t5gemma")]


def logits_of(model, batch, labels=TARGETS):
    with torch.no_grad():
        return model(**batch, labels=labels[: len(batch["input_ids"])]).logits


def assert_different(one, other):
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize(("speech", "text"), PARTS)
def test_forward_gives_the_cross_entropy_of_the_labels(speech, text):
    model = tiny_model(speech=speech, text=text)
    output = model(**tiny_batch(), labels=TARGETS)
    assert output.logits.shape == (3, 4, 320)
    log_probabilities = output.logits.log_softmax(-1)
    tokens = [(row, step, int(TARGETS[row, step])) for row, step in (TARGETS >= 0).nonzero().tolist()]
    assert output.loss.item() == pytest.approx(-sum(log_probabilities[at].item() for at in tokens) / len(tokens))


@pytest.mark.parametrize(("speech", "text"), PARTS)
def test_one_step_changes_every_trainable_weight_and_no_other(speech, text):
    model = tiny_model(speech=speech, text=text).train()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model(**tiny_batch(), labels=TARGETS).loss.backward()
    optimizer.step()
    unchanged = {name for name, weight in model.named_parameters() if torch.equal(weight, before[name])}
    assert unchanged == {name for name in before if name.startswith("model.speech_encoder.")}
    assert all(weight.grad is None for weight in model.model.speech_encoder.parameters())


def test_an_encoder_that_is_not_frozen_learns_too():
    model = tiny_model(speech="emoicl", freeze_speech_encoder=False).train()
    assert model.model.speech_encoder.training
    model(**tiny_batch(), labels=TARGETS).loss.backward()
    gradients = [weight.grad for weight in model.model.speech_encoder.parameters()]
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_a_frozen_encoder_stays_in_evaluation_mode():
    model = tiny_model(speech="emoicl")
    for mode in (True, False):
        model.train(mode)
        assert (model.training, model.model.qformer.training, model.model.speech_encoder.training) == (
            mode,
            mode,
            False,
        )
    speech = tiny_speech(20, 33)
    model.train()
    assert_close(model.get_speech_features(**speech)[0], model.get_speech_features(**speech)[0])


def test_gradient_checkpointing_changes_nothing():
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model(**tiny_batch(), labels=TARGETS).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("speech", "text"), PARTS)
def test_a_prompt_alone_is_as_in_a_batch(speech, text):
    model = tiny_model(speech=speech, text=text)
    together = logits_of(model, tiny_batch())
    joy, sadness, anger = JOY, SADNESS, ANGER
    speech_rows = tiny_batch()["input_features"]
    lengths = [40, 37, 51, 26, 33]
    alone = [
        (tiny_prompts(([(0, joy), (1, sadness)], 2)), [0, 1, 2]),
        (tiny_prompts(([(0, joy), (1, anger), (2, anger)], 3)), [3, 1, 0, 4]),
        (tiny_prompts(([], 0)), [2]),
    ]
    for row, (prompt, utterances) in enumerate(alone):
        padded = torch.nn.utils.rnn.pad_sequence(
            [speech_rows[i, :, : lengths[i]].T for i in utterances], batch_first=True
        ).transpose(1, 2)
        mask = torch.arange(padded.shape[-1]) < torch.tensor([lengths[i] for i in utterances])[:, None]
        batch = prompt | {"input_features": padded, "input_features_mask": mask.long()}
        assert_close(logits_of(model, batch, TARGETS[row : row + 1])[0], together[row], atol=1e-4, rtol=1e-4)


def test_a_shared_utterance_is_as_good_as_its_copies():
    model = tiny_model()
    batch = tiny_batch()
    index = batch["utterance_index"]
    copies = index[index >= 0]
    repeated = batch | {name: batch[name][copies] for name in ("input_features", "input_features_mask")}
    repeated["utterance_index"] = torch.full_like(index, -1).masked_scatter(index >= 0, torch.arange(len(copies)))
    assert_close(logits_of(model, repeated), logits_of(model, batch))


def test_features_may_be_handed_over_at_any_stage():
    model = tiny_model()
    batch = tiny_batch()
    expected = logits_of(model, batch)
    speech = {name: batch.pop(name) for name in ("input_features", "input_features_mask")}
    with torch.no_grad():
        features, mask = model.get_speech_features(**speech)
        assert_close(logits_of(model, batch | {"speech_features": features, "speech_features_mask": mask}), expected)
        stored = model.get_audio_features(speech_features=features, speech_features_mask=mask)
    shapes = {name: tuple(embeds.shape) for name, embeds in stored.items()}
    assert shapes == {"query_embeds": (5, 3, 24), "voice_embeds": (5, 6)}
    assert_close(logits_of(model, batch | dict(stored)), expected)


def test_half_precision_features_are_taken_as_they_are():
    """A cache of features may be float16 while the model is not."""
    model = tiny_model()
    batch = tiny_batch()
    speech = {name: batch.pop(name) for name in ("input_features", "input_features_mask")}
    features, mask = model.get_speech_features(**speech)
    halved = logits_of(model, batch | {"speech_features": features.half(), "speech_features_mask": mask})
    assert_close(halved, logits_of(model, batch | speech), atol=2e-2, rtol=2e-2)


def test_the_processors_batch_fits_the_model():
    processor, model = tiny_processor(), tiny_model()
    tone = 0.1 * torch.sin(torch.arange(8000) / 20).numpy()
    noise = 0.1 * torch.randn(5000).numpy()
    enrollment = [[{"audio": noise, "label": "Joy"}, {"audio": -noise, "label": "Anger"}], []]
    batch = processor([tone, noise[:4000]], enrollment=enrollment, labels=["Sadness", "Joy"])
    assert model(**batch).loss.isfinite()
    batch.pop("labels")
    scores = model.score_labels(processor.label_ids(list(LABELS)), **batch)
    assert_close(scores.exp().sum(1), torch.ones(2))


@pytest.mark.parametrize("name", ["segment_embeddings", "sequence_embeddings"])
def test_embeddings_of_segment_and_sequence_take_effect(name):
    model = tiny_model(adaptation_config=None)
    before = logits_of(model, tiny_batch())
    with torch.no_grad():
        getattr(model.model, name).weight[1] += 1  # speech, and the first utterance
    assert_different(logits_of(model, tiny_batch()), before)


def test_only_its_sequence_embedding_tells_where_a_shot_stands():
    model = tiny_model()
    encoder_positions = model.model.language_model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
    torch.nn.init.zeros_(encoder_positions.weight)
    speech = tiny_speech(30, 41, 26)
    forth = tiny_prompts(([(0, JOY), (1, SADNESS)], 2)) | speech
    back = tiny_prompts(([(1, SADNESS), (0, JOY)], 2)) | speech
    assert_different(logits_of(model, forth), logits_of(model, back))
    torch.nn.init.zeros_(model.model.sequence_embeddings.weight)
    assert_close(logits_of(model, forth), logits_of(model, back), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("adaptation_config", [None, tiny_adaptation()])
def test_the_enrollments_labels_and_voices_take_effect(adaptation_config):
    model = tiny_model(adaptation_config=adaptation_config)
    speech = tiny_speech(30, 41, 26)
    base = logits_of(model, tiny_prompts(([(0, JOY)], 2)) | speech)
    assert_different(logits_of(model, tiny_prompts(([(0, ANGER)], 2)) | speech), base)
    assert_different(logits_of(model, tiny_prompts(([(1, JOY)], 2)) | speech), base)
    assert_different(logits_of(model, tiny_prompts(([], 2)) | speech), base)


def test_the_enrollment_speaks_through_the_adaptation_alone_too():
    """With the language model deaf to its prompt, the shots still move the label that they resemble."""
    model = tiny_model(adaptation_config=tiny_adaptation(probe_weight=0.0))
    torch.nn.init.zeros_(model.model.qformer.projection.weight)
    batch = tiny_prompts(([(0, JOY)], 1), ([(0, JOY)], 2)) | tiny_speech(30, 30, 26)
    batch["input_features"][1] = batch["input_features"][0]
    same_voice, other_voice = log_likelihoods(model, label_ids([10, 1], [11, 12, 1]), **batch)
    assert same_voice[0] - same_voice[1] > other_voice[0] - other_voice[1] + 0.1


def test_the_labels_of_the_shots_are_read_off_the_prompt():
    batch = tiny_batch()
    labels = tiny_model().model.shot_labels(batch["input_ids"], batch["sequence_ids"], batch["utterance_index"])
    empty = [-100] * 4
    assert (labels[..., 4:] == -100).all()
    assert labels[..., :4].tolist() == [
        [[10, 1, -100, -100], [11, 12, 1, -100], empty],
        [[10, 1, -100, -100], [13, 14, 15, 1], [13, 14, 15, 1]],
        [empty, empty, empty],
    ]


@pytest.mark.parametrize("extra", [1, 2])
def test_placeholders_must_match_the_utterances(extra):
    batch = tiny_batch()
    batch["input_ids"][0, :extra] = 3
    with pytest.raises(ValueError, match=rf"holds \[{9 + extra}, 12, 3\] .* asks for \[9, 12, 3\]: 3 for each"):
        tiny_model()(**batch, labels=TARGETS)


def test_placeholders_must_match_in_every_prompt_not_only_in_sum():
    batch = tiny_prompts(([(0, JOY)], 1), ([], 2)) | tiny_speech(30, 41, 26)
    batch["utterance_index"] = torch.tensor([[0, -1], [1, 2]])
    with pytest.raises(ValueError, match=r"holds \[6, 3\] .* asks for \[3, 6\]"):
        tiny_model()(**batch, labels=TARGETS[:2])


def test_too_many_shots_are_refused():
    model = tiny_model(max_shots=2)
    speech = tiny_speech(30, 41, 26)
    logits_of(model, tiny_prompts(([(0, JOY)] * 2, 1)) | speech)
    with pytest.raises(ValueError, match="prompt has 3 shots; this model takes at most 2"):
        logits_of(model, tiny_prompts(([(0, JOY)] * 3, 1)) | speech)


def test_forward_without_labels_says_what_to_call():
    with pytest.raises(ValueError, match="Pass `labels`.*`generate` or `score_labels`"):
        tiny_model()(**tiny_batch())
