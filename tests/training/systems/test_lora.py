"""Low-rank adapters of peft on the language model, trained by `MetaIclTrainer`."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny import LABELS, label_ids, tiny_batch, tiny_model
from tiny_checkpoints import save_language_model
from tiny_corpus import MODEL_FIELDS, SIZES, compose_tiny
from torch.testing import assert_close

from emoicl.modeling.modeling_emoicl import EmoIclForConditionalGeneration
from emoicl.processing.pipeline_emoicl import EmoIclPipeline
from emoicl.training.data.features import FeatureCache
from emoicl.training.episodes.episodes import EpisodeDataset
from emoicl.training.evaluation.recognition import SpeechLmRecognizer
from emoicl.training.systems.composition import compose
from emoicl.training.systems.lora import adapt
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer


peft = pytest.importorskip("peft")

LANGUAGE_MODEL = {"r": 2, "target_modules": r".*language_model\..*\.(q|v)"}
# As decoder-only language models call them.
DECODER = {"r": 2, "target_modules": r".*language_model\..*\.(q|v)_proj"}


@pytest.fixture
def composed_base(request, whisper, tmp_path):
    """Makes the tiny model that adapters are made for, the same each time, and its processor: of a new T5, or of a
    decoder-only language model of the type that a test asks for."""
    kind = getattr(request, "param", None)
    folder = None if kind is None else save_language_model(kind, tmp_path / kind, LABELS)

    def make() -> Any:
        torch.manual_seed(0)
        if folder is None:
            return compose_tiny(whisper)
        fields = MODEL_FIELDS | {"qformer": SIZES["qformer"], "adaptation_config": None}
        return compose(str(whisper), LABELS, language_model=str(folder), **fields)

    return make


@pytest.fixture
def base(composed_base):
    return lambda: composed_base()[0]


@pytest.fixture
def make_trainer(corpus, composed_base, tmp_path):
    def make(lora=LANGUAGE_MODEL, **arguments):
        model, processor = composed_base()
        torch.manual_seed(0)
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "learning_rate": 3e-2,
            "save_strategy": "no",
            "disable_tqdm": True,
            "report_to": "none",
            "use_cpu": True,
        }
        return MetaIclTrainer(
            model=peft.get_peft_model(model, peft.LoraConfig(**lora)),
            args=MetaIclTrainingArguments(**(defaults | arguments)),
            train_dataset=corpus,
            eval_dataset=corpus,
            processing_class=processor,
            features=FeatureCache(model, processor.feature_extractor, tmp_path / "cache"),
        )

    return make


def probabilities(model, trainer, corpus, decoding: Any = "labels"):
    """Answers for each utterance, with two shots of the same speaker."""
    episodes = EpisodeDataset(corpus, trainer.processor.candidate_labels, shots=(2, 2))
    recognizer = SpeechLmRecognizer(model, trainer.processor, trainer.features, decoding)
    return recognizer.score(corpus, [episodes[item] for item in range(len(corpus))])


def trained(trainer):
    """Names of the base model's parameters that training has changed, and of the adapters'."""
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trainer.train()
    after = trainer.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    adapters = {name for name in changed if "lora_" in name}
    return changed - adapters, adapters


def test_adapters_alone_are_trained(make_trainer):
    of_base, adapters = trained(make_trainer())
    assert of_base == set()
    assert adapters
    assert all("language_model" in name for name in adapters)


def test_a_part_can_be_trained_whole_beside_them(make_trainer, base, corpus):
    trainer = make_trainer(LANGUAGE_MODEL | {"modules_to_save": ["adaptation"]}, adaptation_learning_rate=1e-3)
    of_base, adapters = trained(trainer)
    assert adapters
    names = {name for name, _ in base().model.adaptation.named_parameters()}
    assert of_base == {f"base_model.model.model.adaptation.modules_to_save.default.{name}" for name in names}
    adapted = probabilities(trainer.model, trainer, corpus)
    merged = trainer.model.merge_and_unload()
    assert not any("modules_to_save" in name for name in merged.state_dict())
    torch.testing.assert_close(probabilities(merged, trainer, corpus), adapted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("composed_base", "lora"),
    [(None, LANGUAGE_MODEL), ("llama", DECODER), ("qwen3", DECODER)],
    indirect=["composed_base"],
)
def test_an_adapter_reloads_and_merges_into_a_plain_checkpoint(make_trainer, base, lora, corpus, tmp_path):
    trainer = make_trainer(lora, max_steps=10)
    trainer.train()
    adapted = probabilities(trainer.model, trainer, corpus)
    written = probabilities(trainer.model, trainer, corpus, "beam")
    # As a ratio: a decoder that was taught nothing is sure of the shortest label.
    assert abs(adapted / probabilities(base(), trainer, corpus) - 1).max() > 1e-2
    trainer.save_model(str(tmp_path / "adapter"))
    files = {path.name: path.stat().st_size for path in (tmp_path / "adapter").iterdir()}
    assert "model.safetensors" not in files
    assert "processor_config.json" in files

    reloaded = peft.PeftModel.from_pretrained(base(), str(tmp_path / "adapter"))
    torch.testing.assert_close(probabilities(reloaded, trainer, corpus), adapted, rtol=0, atol=0)
    reloaded.merge_and_unload().save_pretrained(tmp_path / "merged")
    plain, info = EmoIclForConditionalGeneration.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(info.values())
    assert plain.state_dict().keys() == base().state_dict().keys()
    tied = plain.get_input_embeddings().weight is plain.get_output_embeddings().weight
    assert tied == plain.config.text_config.tie_word_embeddings
    torch.testing.assert_close(probabilities(plain, trainer, corpus), adapted, rtol=1e-3, atol=1e-15)
    torch.testing.assert_close(probabilities(plain, trainer, corpus, "beam"), written, rtol=1e-3, atol=1e-15)


@torch.no_grad()
@pytest.mark.parametrize("text", ["llama", "t5"])
def test_adapters_of_weights_in_4_bits_are_merged_into_what_these_stand_for(text):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    model, candidates = tiny_model(text=text), label_ids([10, 1], [11, 12, 1], [13, 1])

    def answers() -> tuple[torch.Tensor, set[type]]:
        kinds = {type(layer) for layer in model.model.language_model.modules()}
        return model.score_labels(candidates, **tiny_batch()), kinds

    (full, kinds), lora = answers(), {"r": 2, "init_lora_weights": False}
    merge = adapt(model, lora | {"load_in_4bit": True}, torch.float32)
    trained = {name for name, weight in model.model.language_model.named_parameters() if weight.requires_grad}
    adapted, adapted_kinds = answers()
    assert trained and all("lora_" in name for name in trained)
    assert bitsandbytes.nn.Linear4bit in adapted_kinds and (adapted - full).abs().max() > 1e-3
    merge()
    merged, merged_kinds = answers()
    assert_close(merged, adapted, atol=1e-4, rtol=1e-4)
    assert merged_kinds == kinds


@pytest.mark.parametrize("composed_base", ["llama", "gemma3_text"], indirect=True)
def test_a_profile_of_a_model_with_adapters(composed_base, tmp_path):
    model, processor = composed_base()
    adapted: Any = peft.get_peft_model(model, peft.LoraConfig(**DECODER, init_lora_weights=False)).eval()
    clips = [np.random.default_rng(i).normal(0, 0.1, 4000 + 800 * i).astype(np.float32) for i in range(3)]
    enrollment = [{"audio": clip, "label": label} for clip, label in zip(clips[1:], LABELS, strict=False)]
    recognizer: Any = EmoIclPipeline(model=adapted, processor=processor)
    profile = recognizer.enroll(enrollment)

    def answers(**speaker: Any) -> dict[str, float]:
        return {answer["label"]: answer["score"] for answer in recognizer(clips[0], **speaker)}

    expected = answers(enrollment=enrollment)
    for _ in range(2):
        assert answers(profile=profile) == pytest.approx(expected, rel=1e-4)
        # What was read with adapters is nothing without them.
        with adapted.disable_adapter(), pytest.raises(ValueError, match="The profile was made with another model"):
            answers(profile=profile)
    with adapted.disable_adapter():
        plain = answers(enrollment=enrollment)
        assert answers(profile=recognizer.enroll(enrollment)) == pytest.approx(plain, rel=1e-4)
    assert plain != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("composed_base", ["llama", "gemma3_text", "t5"], indirect=True)
def test_an_adapter_is_put_on_by_the_ways_of_transformers(composed_base, corpus, tmp_path):
    model, processor = composed_base()
    model.save_pretrained(tmp_path / "base")
    inputs = processor([corpus[0].audio], enrollment=[[{"audio": corpus[1].audio, "label": "Joy"}]])

    @torch.no_grad()
    def scores(model: Any) -> torch.Tensor:
        return model.eval().score_labels(processor.label_ids(["Joy", "Sad"]), **inputs)

    def load(folder: str) -> Any:
        return EmoIclForConditionalGeneration.from_pretrained(tmp_path / folder)

    adapted = load("base")
    plain = scores(adapted)
    pattern = r".*language_model\..*\.(q|v)(_proj)?"
    adapted.add_adapter(peft.LoraConfig(r=2, target_modules=pattern, init_lora_weights=False))
    expected = scores(adapted)
    assert (expected - plain).abs().max() > 1e-3
    adapted.save_pretrained(tmp_path / "adapter")
    onto = load("base")
    found = onto.load_adapter(str(tmp_path / "adapter"))
    assert not found.missing_keys and not found.unexpected_keys
    for again in (onto, load("adapter"), peft.PeftModel.from_pretrained(load("base"), str(tmp_path / "adapter"))):
        assert_close(scores(again), expected)


def test_evaluation_and_the_best_adapter(make_trainer):
    trainer = make_trainer(
        eval_strategy="steps",
        eval_steps=2,
        eval_shots="0,2",
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="ua_spk",
        greater_is_better=True,
    )
    trainer.train()
    assert trainer.evaluate()["eval_ua_spk"] == trainer.state.best_metric


def test_a_resumed_run_ends_like_an_uninterrupted_one(make_trainer, tmp_path):
    whole = make_trainer(save_strategy="steps", save_steps=2)
    whole.train()
    resumed = make_trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    torch.testing.assert_close(dict(resumed.model.state_dict()), dict(whole.model.state_dict()), rtol=0, atol=0)
