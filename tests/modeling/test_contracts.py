"""Both models keep the contracts of transformers; see `model_tester`."""

from typing import Any

import pytest
import torch
from model_tester import GenerationTester, ModelTester
from tiny import READER, label_ids, tiny_adaptation, tiny_batch, tiny_model, tiny_prompts, tiny_speech
from tiny_classifier import tiny_classifier, tiny_classifier_batch
from torch.testing import assert_close
from transformers import AutoModel
from transformers.modeling_outputs import Seq2SeqModelOutput

from emoicl.modeling.classification_emoicl import EmoIclForAudioClassification
from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration, EmoIclModel


CANDIDATES = label_ids([10, 1], [11, 12, 1], [13, 14, 15, 1])


class TestConditionalGeneration(ModelTester, GenerationTester):
    model_class = EmoIclForConditionalGeneration
    attentions = {"encoder_attentions": 2, "decoder_attentions": 2, "cross_attentions": 2}
    hidden_states = {"encoder_hidden_states": 3, "decoder_hidden_states": 3}
    parts = (
        "model.language_model",
        "model.speech_encoder",
        "model.qformer",
        "model.segment_embeddings",
        "model.sequence_embeddings",
        "model.adaptation",
    )

    def model(self, **fields):
        return tiny_model(**fields)

    def batch(self):
        return tiny_batch() | {"labels": CANDIDATES}


class TestDecoderOnly(TestConditionalGeneration):
    """Of a language model without an encoder, the label is all that hidden states and attentions are returned of."""

    attentions = {"decoder_attentions": 2}
    hidden_states = {"decoder_hidden_states": 3}

    def model(self, **fields: Any):
        fields = {"text": "llama"} | fields
        return tiny_model(**fields)


class TestReader(TestConditionalGeneration):
    """The layout that made-up speakers teach, of two layers of the speech encoder."""

    parts = (
        "model.language_model",
        "model.speech_encoder",
        "model.voice_token",
        "model.segment_embeddings",
        "model.sequence_embeddings",
        "model.unlabeled_embedding",
        "model.adaptation",
    )

    def model(self, **fields: Any):
        # Its tokens are made by the adaptation, which can be left out of the answer alone.
        if "adaptation_config" in fields:
            fields["adaptation_config"] = tiny_adaptation(probe_weight=0.0, prototype_weight=0.0)
        fields = READER | {"speech_layer": [1, 2]} | fields
        return tiny_model(**fields)

    def batch(self):
        return tiny_batch(num_query_tokens=1) | {"labels": CANDIDATES}


class TestAudioClassification(ModelTester):
    model_class = EmoIclForAudioClassification
    attentions = {"attentions": 1}
    hidden_states = {"hidden_states": 2}
    parts = ("speech_encoder", "utterance_encoder", "enrollment_attention", "dropout", "classifier")

    def model(self, **fields):
        return tiny_classifier(enrollment_labels=["Joy", "Sadness"], **fields)

    def batch(self):
        return tiny_classifier_batch("Personalized_A") | {
            "enrollment_label_ids": torch.tensor([[0, 1], [0, 1], [0, 0]]),
            "labels": torch.tensor([0, 2, 1]),
        }


def test_the_base_model_gives_what_its_head_is_put_on(tmp_path):
    head = tiny_model()
    head.save_pretrained(tmp_path)
    base = AutoModel.from_pretrained(tmp_path)
    assert type(base) is EmoIclModel and head.base_model is head.model
    decoder_input_ids = head.prepare_decoder_input_ids_from_labels(CANDIDATES)
    output = base(**tiny_batch(), decoder_input_ids=decoder_input_ids, output_hidden_states=True)
    expected = head(**tiny_batch(), labels=CANDIDATES, output_hidden_states=True)
    assert isinstance(output, Seq2SeqModelOutput)
    assert_close(output.last_hidden_state, expected.decoder_hidden_states[-1])
    for name in ("encoder_last_hidden_state", "label_tokens", "label_evidence"):
        assert_close(output[name], expected[name])
    assert isinstance(base(**tiny_batch(), decoder_input_ids=decoder_input_ids, return_dict=False), tuple)


class Scoring(torch.nn.Module):
    """What an exported recognizer runs: the prompt and its utterances in, scores of the labels out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, label_ids, **inputs):
        return self.model.score_labels(label_ids, **inputs)


@pytest.mark.parametrize(
    "fields",
    [{}, {"adaptation_config": None}, READER, {"text": "llama"}],
    ids=["adaptation", "the paper's", "reader", "decoder-only"],
)
@pytest.mark.parametrize("shots", ["enrollment", "no enrollment"])
def test_scoring_is_exported(shots, fields):
    queries = fields.get("num_query_tokens", 3)
    batch = tiny_prompts(([], 0), ([], 1), num_query_tokens=queries) | tiny_speech(40, 37)
    if shots == "enrollment":
        batch = tiny_batch(queries)
    # In double precision, because sums are of other lengths: a graph pads all utterances to the longest.
    model = tiny_model(**fields).double()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    with torch.no_grad():
        exported = torch.export.export(Scoring(model), (CANDIDATES,), dict(batch), strict=False)
    other = batch | {"input_features": batch["input_features"].flip(0) * batch["input_features_mask"][:, None]}
    for inputs in (batch, other):
        scores = exported.module()(CANDIDATES, **inputs)
        assert_close(scores, model.score_labels(CANDIDATES, **inputs), atol=1e-5, rtol=1.3e-6)
    if shots == "enrollment":
        with pytest.raises(RuntimeError, match="inputs do not fit together"):
            exported.module()(CANDIDATES, **batch | {"utterance_index": batch["utterance_index"].clamp(min=0)})
