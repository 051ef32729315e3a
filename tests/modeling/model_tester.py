"""The contracts of transformers, as tests that each model class takes on: in the spirit of transformers' own
ModelTesterMixin and GenerationTesterMixin, which are in its repository but in no package."""

import copy
import logging
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.utils.generic import ModelOutput


class ModelTester:
    """Tests of a model; a class that has them names the model, a batch, and how many layers it tells of."""

    model_class: type[PreTrainedModel]
    # How many attentions and hidden states a forward returns, by the field of its output.
    attentions: dict[str, int]
    hidden_states: dict[str, int]
    # Its modules, each of which may lie on another device.
    parts: tuple[str, ...]

    def model(self, **fields: Any) -> Any:
        """A tiny model in evaluation mode."""
        raise NotImplementedError

    def batch(self) -> dict[str, torch.Tensor]:
        """Inputs of `forward` with labels."""
        raise NotImplementedError

    def with_attention(self, implementation: str, folder: Any) -> Any:
        self.model().save_pretrained(folder)
        return self.model_class.from_pretrained(folder, attn_implementation=implementation)

    def test_return_dict_false_gives_the_fields_as_a_tuple(self):
        model, batch = self.model(), self.batch()
        expected = model(**batch)
        for output in (model(**batch, return_dict=False), self.model(return_dict=False)(**batch)):
            assert isinstance(output, tuple) and not isinstance(output, ModelOutput)
            assert_close(output[:2], (expected.loss, expected.logits))

    def test_attentions_are_returned_on_request(self, tmp_path):
        model, batch = self.with_attention("eager", tmp_path), self.batch()
        plain, output = model(**batch), model(**batch, output_attentions=True)
        assert {name: len(output[name]) for name in self.attentions} == self.attentions
        assert not any(name in plain for name in self.attentions)
        for attention in (attention for name in self.attentions for attention in output[name]):
            assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))

    def test_hidden_states_are_returned_on_request(self):
        model, batch = self.model(), self.batch()
        plain, output = model(**batch), model(**batch, output_hidden_states=True)
        assert {name: len(output[name]) for name in self.hidden_states} == self.hidden_states
        assert not any(name in plain for name in self.hidden_states)
        assert_close(output.logits, plain.logits)

    def test_the_configuration_may_ask_for_them_too(self):
        model, batch = self.model(), self.batch()
        model.config.output_hidden_states = True
        assert {name: len(model(**batch)[name]) for name in self.hidden_states} == self.hidden_states

    def test_eager_and_sdpa_agree(self, tmp_path):
        outputs = []
        for implementation in ("eager", "sdpa"):
            model = self.with_attention(implementation, tmp_path)
            parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
            assert {part.config._attn_implementation for part in parts} == {implementation}
            outputs.append(model(**self.batch()).logits)
        assert_close(*outputs, atol=1e-4, rtol=1e-4)

    def test_flash_attention_is_refused_with_its_reason(self, tmp_path):
        with pytest.raises(ValueError, match='"sdpa" or "eager": flash attention cannot add the relative positions'):
            self.with_attention("flash_attention_2", tmp_path)

    def test_gradient_checkpointing_acts_on_every_layer_and_changes_nothing(self):
        gradients, counts = [], []
        for checkpointing in (False, True):
            model = self.model(speech="emoicl", freeze_speech_encoder=False)
            if checkpointing:
                model.gradient_checkpointing_enable()
                layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
                assert len(layers) >= 3 and all(layer.gradient_checkpointing for layer in layers)
            model.train()
            without_dropout(model)
            runs: list[int] = []
            encoder = model.get_encoder(modality="audio")
            encoder.layers[0].fc1.register_forward_hook(lambda *_, runs=runs: runs.append(1))
            model(**self.batch()).loss.backward()
            counts.append(len(runs))
            gradients.append({name: w.grad for name, w in model.named_parameters() if w.grad is not None})
        # Once more in the backward pass, where nothing was kept.
        assert counts[1] == 2 * counts[0] > 0
        assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)

    def test_a_speech_encoder_made_trainable_stays_so_and_learns(self):
        model = self.model(speech="emoicl")
        encoder = model.get_encoder(modality="audio")
        assert not any(weight.requires_grad for weight in encoder.parameters())
        model.requires_grad_(True)
        model.train().eval().train()
        assert all(weight.requires_grad for weight in encoder.parameters()) and not encoder.training
        model(**self.batch()).loss.backward()
        assert all(weight.grad is not None for weight in encoder.parameters())

    def test_the_speech_encoder_is_found_by_its_modality(self):
        model = self.model()
        assert model.get_encoder(modality="audio").input_type == "log_mel"

    def test_parts_may_lie_on_disk(self, tmp_path):
        for on_disk in self.parts:
            self.check_on_disk(on_disk, tmp_path)

    def check_on_disk(self, on_disk: str, folder: Any) -> None:
        """With one part on disk, and brought to memory only when it is called, the model answers the same."""
        model, batch = self.model(), self.batch()
        model.save_pretrained(folder / "model")
        devices = {part: "disk" if part == on_disk else "cpu" for part in self.parts}
        offloaded = self.model_class.from_pretrained(
            folder / "model", device_map=devices, offload_folder=folder / on_disk
        )
        part = offloaded.get_submodule(on_disk)
        assert all(weight.device.type == "meta" for weight in part.parameters())
        assert_close(offloaded(**batch).logits, model(**batch).logits)

    def test_an_automatic_device_map(self, tmp_path):
        pytest.importorskip("accelerate")
        model, batch = self.model(), self.batch()
        model.save_pretrained(tmp_path)
        loaded = self.model_class.from_pretrained(tmp_path, device_map="auto")
        # There, for a GPU multiplies otherwise than a CPU.
        inputs = {name: part.to(loaded.device) for name, part in batch.items()}
        assert_close(loaded(**inputs).logits, model.to(loaded.device)(**inputs).logits, atol=1e-4, rtol=1e-4)

    def test_compiles_as_one_graph(self):
        model, batch = self.model(), self.batch()
        torch._dynamo.reset()
        compiled: Any = torch.compile(model, fullgraph=True, backend="eager")
        assert_close(compiled(**batch).loss, model(**batch).loss)

    def test_resuming_a_trainer_says_nothing_of_missing_weights(self, tmp_path, caplog):
        model = self.model()
        batch = {name: part for name, part in self.batch().items()}
        for name in ("transformers", "transformers.trainer"):
            logging.getLogger(name).propagate = True
        arguments: dict[str, Any] = {"output_dir": str(tmp_path), "max_steps": 1, "report_to": [], "use_cpu": True}

        def trainer(**other: Any) -> Trainer:
            args = TrainingArguments(**(arguments | other), remove_unused_columns=False, disable_tqdm=True)
            return Trainer(copy.deepcopy(model), args, data_collator=lambda _: batch, train_dataset=[{}] * 2)  # pyright: ignore[reportArgumentType]

        trainer(save_steps=1).train()
        caplog.clear()
        trainer(max_steps=2, save_strategy="no").train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
        assert "missing keys" not in caplog.text


class GenerationTester:
    """Tests of a model that writes texts; beside [`ModelTester`], of which it uses `model` and `batch`."""

    def prompt(self) -> dict[str, torch.Tensor]:
        batch = self.batch()  # pyright: ignore[reportAttributeAccessIssue]
        batch.pop("labels")
        return batch

    def test_outputs_are_those_of_transformers_with_the_evidence(self):
        output: Any = self.model()(**self.batch())  # pyright: ignore[reportAttributeAccessIssue]
        assert output.label_evidence.shape == output.label_tokens.shape[:2]
        assert isinstance(output, Seq2SeqLMOutput)

    def test_generate_returns_attentions_and_hidden_states(self, tmp_path):
        model, prompt = self.with_attention("eager", tmp_path), self.prompt()  # pyright: ignore[reportAttributeAccessIssue]
        asked: Any = {"return_dict_in_generate": True, "output_attentions": True, "output_hidden_states": True}
        for beams in (1, 2):
            output = model.generate(**prompt, **asked, num_beams=beams, max_new_tokens=2)
            for name in self.attentions.keys() | self.hidden_states.keys():  # pyright: ignore[reportAttributeAccessIssue]
                assert len(output[name]) == (2 if "encoder" not in name else len(output[name]) or -1), name
        assert_close(model.generate(**prompt, return_dict_in_generate=False), model.generate(**prompt))

    @pytest.mark.parametrize("fields", [{}, {"adaptation_config": None}], ids=["evidence", "no evidence"])
    @pytest.mark.parametrize("text", ["t5", "bart", "t5gemma"])
    @pytest.mark.parametrize("beams", [1, 4])
    def test_the_cache_is_used_and_changes_nothing(self, text, beams, fields):
        model, prompt = self.model(text=text, **fields), self.prompt()  # pyright: ignore[reportAttributeAccessIssue]
        asked: Any = {"num_beams": beams, "max_new_tokens": 5, "min_new_tokens": 5}
        asked |= {"return_dict_in_generate": True, "output_scores": True}
        lengths: list[int] = []
        decoder = model.get_decoder()
        decoder.register_forward_pre_hook(
            lambda _, args, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
        )
        cached = model.generate(**prompt, **asked)
        assert lengths == [1] * 5
        lengths.clear()
        plain = model.generate(**prompt, **asked, use_cache=False)
        assert lengths == [1, 2, 3, 4, 5]
        assert cached.sequences.equal(plain.sequences)
        assert_close(cached.scores, plain.scores, atol=1e-4, rtol=1e-4)

    def test_the_encoder_and_the_decoder_are_the_language_models(self):
        model = self.model()  # pyright: ignore[reportAttributeAccessIssue]
        for part in (model, model.model):
            assert part.get_encoder() is model.model.language_model.get_encoder()
            assert part.get_decoder() is model.model.language_model.get_decoder()

    def test_embeddings_stand_in_for_tokens(self):
        model, batch = self.model(adaptation_config=None), self.batch()  # pyright: ignore[reportAttributeAccessIssue]
        expected = model(**batch).logits
        embeds = model.get_input_embeddings()(batch["input_ids"])
        assert_close(model(**batch, inputs_embeds=embeds).logits, expected)
        input_ids = batch.pop("input_ids")
        assert_close(model(**batch, inputs_embeds=embeds).logits, expected)
        assert (model(**batch, inputs_embeds=embeds + 1).logits - expected).abs().max() > 1e-3
        personal = self.model()  # pyright: ignore[reportAttributeAccessIssue]
        embeds = personal.get_input_embeddings()(input_ids)
        with pytest.raises(ValueError, match="reads labels from `input_ids`: give them beside `inputs_embeds`"):
            personal(**batch, inputs_embeds=embeds)
        assert_close(
            personal(**batch, input_ids=input_ids, inputs_embeds=embeds).logits,
            personal(**batch, input_ids=input_ids).logits,
        )


def without_dropout(model: torch.nn.Module) -> None:
    """Sets every dropout probability to 0, those of modules and those that layers keep as numbers."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
