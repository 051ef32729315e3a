from itertools import product
from typing import Any

import pytest
import torch
from tiny import (
    EOS,
    label_ids,
    log_likelihoods,
    tiny_adaptation,
    tiny_batch,
    tiny_model,
    tiny_prompts,
    tiny_speech,
    tiny_text_config,
)
from torch.testing import assert_close


# Several tokens, shared first tokens, one that is the start of another, one nobody has learned or shown.
CANDIDATES = [[10, EOS], [11, 12, EOS], [11, 13, EOS], [11, 12, 13, EOS], [40, 41, 42, 43, EOS]]
TEXTS = ["t5", "bart", "t5gemma", "llama", "gemma3_text"]
# pad, eos, a word, the placeholder and two more words: few enough to try every text of three tokens.
SMALL: dict[str, Any] = {
    "vocab_size": 6,
    "adaptation_config": tiny_adaptation(label_words=["a", "b"], label_token_ids=[[4, EOS], [5, 2, EOS]]),
}


def every_text(length):
    """All texts up to so many tokens, with the end-of-sequence token unless they are cut at the full length."""
    words = [token for token in range(SMALL["vocab_size"]) if token != EOS]
    ended = [[*text, EOS] for size in range(length) for text in product(words, repeat=size)]
    return ended + [list(text) for text in product(words, repeat=length)]


def small_batch():
    prompts = tiny_prompts(([(0, [4]), (1, [5, 2])], 2), ([(1, [4])], 0), ([], 2), instruction=[2])
    return prompts | tiny_speech(30, 41, 26)


def without_padding(sequences):
    """Generated tokens after the start token, with -100 after the end-of-sequence token."""
    tokens = sequences[:, 1:]
    ended = (tokens == EOS).cumsum(1) - (tokens == EOS).long() > 0
    return tokens.masked_fill(ended, -100)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("adaptation_config", [None, tiny_adaptation()], ids=["the paper's", "adapted"])
def test_scores_are_the_probabilities_that_forward_gives(text, adaptation_config):
    model = tiny_model(text=text, adaptation_config=adaptation_config)
    batch = tiny_batch()
    scores = model.score_labels(label_ids(*CANDIDATES), **batch)
    expected = torch.empty(3, len(CANDIDATES))
    for column, label in enumerate(CANDIDATES):
        log_probabilities = model(**batch, labels=torch.tensor([label] * 3)).logits.log_softmax(-1)
        expected[:, column] = log_probabilities[:, range(len(label)), label].sum(1)
    if adaptation_config is None:
        assert_close(scores, expected.log_softmax(1), atol=1e-4, rtol=1e-4)
    assert scores.dtype == torch.float32
    assert_close(scores.exp().sum(1), torch.ones(3))


def test_scores_blend_language_model_and_evidence():
    """A weighted sum of what each says, in which an enrolled new word is no worse to the language model than an
    average known one, and a word that is neither known nor enrolled has average evidence."""
    model: Any = tiny_model(adaptation_config=tiny_adaptation(language_model_weight=0.3))
    batch = tiny_batch()
    # Of the shots' labels, 13 14 15 is not known. 16 is neither.
    known = model.config.adaptation_config.label_token_ids
    candidates = [*known, [13, 14, 15, EOS], [16, EOS]]
    encoded = model.model.encode(**batch)
    tokens, evidence = encoded.label_tokens, encoded.label_evidence
    model.model.adaptation = None
    alone = log_likelihoods(model, label_ids(*candidates), **batch)
    expected = torch.empty(len(alone), len(candidates))
    for row, (of_model, found) in enumerate(zip(alone, evidence, strict=True)):
        slots = {tuple(ids[ids >= 0].tolist()): e for ids, e in zip(tokens[row], found, strict=True) if e.isfinite()}
        average = of_model[: len(known)].exp().mean().log()
        for column, candidate in enumerate(candidates):
            by_evidence = slots.get(tuple(candidate), found[found.isfinite()].exp().mean().log())
            is_new = tuple(candidate) in slots and candidate not in known
            by_model = torch.maximum(of_model[column], average) if is_new else of_model[column]
            expected[row, column] = 0.3 * by_model + by_evidence
    assert any((13, 14, 15, EOS) == tuple(ids[ids >= 0].tolist()) for ids in tokens.flatten(0, 1))
    model = tiny_model(adaptation_config=tiny_adaptation(language_model_weight=0.3))
    assert_close(model.score_labels(label_ids(*candidates), **batch), expected.log_softmax(1), atol=1e-4, rtol=1e-4)


def test_a_labels_likelihood_does_not_hang_on_the_other_candidates():
    model, batch = tiny_model(), tiny_batch()
    together = log_likelihoods(model, label_ids(*CANDIDATES), **batch)
    for column, label in enumerate(CANDIDATES):
        alone = log_likelihoods(model, label_ids(label), **batch)
        assert_close(alone[:, 0], together[:, column], atol=1e-5, rtol=1e-5)


def test_the_language_models_encoder_runs_once():
    model = tiny_model()
    runs = []
    model.model.language_model.encoder.register_forward_hook(lambda *_: runs.append(1))
    model.score_labels(label_ids(*CANDIDATES), **tiny_batch())
    assert len(runs) == 1
    model.generate(**tiny_batch())
    assert len(runs) == 2


def test_labels_in_the_batch_do_not_disturb_the_answer():
    model, batch = tiny_model(), tiny_batch()
    labels = label_ids(*CANDIDATES[:3])
    scores = model.score_labels(label_ids(*CANDIDATES), **batch)
    assert_close(model.score_labels(label_ids(*CANDIDATES), **batch, labels=labels), scores)
    assert_close(model.generate(**batch, labels=labels), model.generate(**batch))


@pytest.mark.parametrize("text", TEXTS)
def test_probabilities_of_all_texts_add_up_to_one(text):
    model = tiny_model(text=text, **SMALL)
    likelihoods = log_likelihoods(model, label_ids(*every_text(3)), **small_batch())
    assert_close(likelihoods.exp().sum(1), torch.ones(3))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("seed", range(3))
def test_beam_search_that_keeps_everything_finds_the_likeliest_text(text, seed):
    model = tiny_model(seed, text=text, **SMALL)
    texts = every_text(3)
    likelihoods = log_likelihoods(model, label_ids(*texts), **small_batch())
    found = model.generate(
        **small_batch(), num_beams=len(texts), max_new_tokens=3, return_dict_in_generate=True, output_scores=True
    )
    best = likelihoods.max(1)
    answers = [[token for token in row if token >= 0] for row in without_padding(found.sequences).tolist()]
    assert answers == [texts[index] for index in best.indices]
    assert_close(found.sequences_scores, best.values, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("adapted", [False, True])
def test_the_score_of_an_answer_is_its_log_likelihood(text, adapted):
    model = tiny_model(1, text=text, **(SMALL if adapted else SMALL | {"adaptation_config": None}))
    found = model.generate(**small_batch(), return_dict_in_generate=True, output_scores=True)
    likelihoods = log_likelihoods(model, without_padding(found.sequences), **small_batch())
    assert_close(found.sequences_scores, likelihoods.diagonal(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("text", TEXTS)
def test_a_prompt_alone_is_answered_as_in_a_batch(text):
    model = tiny_model(2, text=text, **SMALL)
    together = without_padding(model.generate(**small_batch()))
    alone = tiny_prompts(([(1, [4])], 0), instruction=[2]) | tiny_speech(30, 41, 26)
    answer = without_padding(model.generate(**alone))
    length = min(answer.shape[1], together.shape[1])
    assert answer[0, :length].tolist() == together[1, :length].tolist()


def test_beam_4_is_the_default_and_can_be_changed():
    model = tiny_model()
    assert (model.generation_config.num_beams, model.generation_config.length_penalty) == (4, 0.0)
    answers = model.generate(**tiny_batch(), num_return_sequences=4, max_new_tokens=2)
    assert answers.shape == (12, 3)
    greedy = model.generate(**tiny_batch(), num_beams=1, max_new_tokens=1)
    with torch.no_grad():
        likeliest = model(**tiny_batch(), labels=torch.zeros(3, 1, dtype=torch.long)).logits.argmax(-1)
    assert greedy[:, 1:].tolist() == likeliest.tolist()


def test_the_language_models_own_habits_do_not_decide():
    """BART's checkpoints force their first and last token, and forbid repetition, for summaries."""
    habits = {"forced_bos_token_id": 2, "forced_eos_token_id": 2, "no_repeat_ngram_size": 1, "min_length": 3}
    batch = small_batch()
    text_config = tiny_text_config("bart", vocab_size=SMALL["vocab_size"])
    expected = tiny_model(text="bart", **SMALL).generate(**batch)
    for name, value in habits.items():
        setattr(text_config, name, value)
    assert tiny_model(text="bart", **SMALL, text_config=text_config).generate(**batch).equal(expected)


def test_generate_takes_stored_utterances():
    model, batch = tiny_model(), tiny_batch()
    expected = model.generate(**batch)
    speech = {name: batch.pop(name) for name in ("input_features", "input_features_mask")}
    features, mask = model.get_speech_features(**speech)
    assert model.generate(**batch, speech_features=features, speech_features_mask=mask).equal(expected)
    with torch.no_grad():
        stored = model.get_audio_features(**speech)
    assert model.generate(**batch, **stored).equal(expected)
