"""Damaged and hostile checkpoints: one line that names the file, no code run, no question asked."""

import json
import shutil

import numpy as np
import pytest
from tiny import LABELS, tiny_model, tiny_processor
from tiny_classifier import tiny_classifier

from emoicl.processing import EmoIclFeatureExtractor
from emoicl.training.publishing import checkpoint as module
from emoicl.training.publishing.cards import save_card
from emoicl.training.publishing.checkpoint import load_pipeline
from emoicl.training.systems.composition import load_speech_config
from emoicl.training.systems.tokenizer import load_tokenizer


NOISE = np.random.default_rng(0).normal(0, 0.1, (2, 8000)).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny_model().save_pretrained(folder / "lm")
    tiny_processor().save_pretrained(folder / "lm")
    tiny_classifier(enrollment_labels=list(LABELS)).save_pretrained(folder / "classifier")
    EmoIclFeatureExtractor().save_pretrained(folder / "classifier")
    return folder


@pytest.fixture
def copy_of(checkpoints, tmp_path):
    def copy_of(kind):
        return shutil.copytree(checkpoints / kind, tmp_path / kind)

    return copy_of


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    def refuse(*args):
        raise AssertionError("Somebody was asked.")

    monkeypatch.setattr("builtins.input", refuse)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config.json", b"{", "config.json cannot be read"),
        ("config.json", b"[]", "config.json cannot be read"),
        ("config.json", b"{}", "config.json cannot be used: "),
        ("generation_config.json", b"\xff", "generation_config.json cannot be read"),
        ("model.safetensors", b"", "model.safetensors cannot be read"),
        ("model.safetensors", b"version https://git-lfs", "model.safetensors cannot be read"),
        ("processor_config.json", b"{'a'}", "processor_config.json cannot be read"),
        ("tokenizer.json", b"{}", "processor_config.json, tokenizer.json, tokenizer_config.json cannot be used: "),
        ("tokenizer_config.json", b"\x00", "tokenizer_config.json cannot be read"),
        ("processor_config.json", b'{"instruction": "\\ud800"}', "processor_config.json cannot be read"),
        # Strays, which transformers reads where they lie beside a model.
        ("adapter_config.json", b"{", "adapter_config.json cannot be read"),
        ("adapter_config.json", b"{}", "config.json, .*adapter_config.json cannot be used: "),
        ("special_tokens_map.json", b"{", "special_tokens_map.json cannot be read"),
        ("added_tokens.json", b"", "added_tokens.json cannot be read"),
    ],
)
def test_the_file_that_is_damaged(copy_of, name, content, message):
    folder = copy_of("lm")
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"lm: {message}.*download it again"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"device": "gpu"}, "^`device`: nothing can be computed on 'gpu' here: "),
        ({"device": "meta"}, "^`device`: nothing can be computed on 'meta' here: "),
        ({"dtype": "fp16"}, "^`dtype` is a precision, .*; got 'fp16'"),
        ({"dtype": "int8"}, "^`dtype` is a precision, .*; got 'int8'"),
    ],
)
def test_a_whole_checkpoint_is_not_called_damaged(checkpoints, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_pipeline(checkpoints / "lm", **arguments)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_is_not_there(copy_of, name):
    folder = copy_of("lm")
    (folder / name).unlink()
    with pytest.raises(ValueError, match=r"lm: .* cannot be used: .*download it again"):
        load_pipeline(folder)


@pytest.mark.parametrize("kind", ["lm", "classifier"])
def test_an_adapter_alone_is_loaded_onto_its_model_or_says_what_it_is(copy_of, kind, tmp_path):
    peft = pytest.importorskip("peft")
    recognizer = load_pipeline(copy_of(kind))
    plain = recognizer(NOISE[0])
    config = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    recognizer.model.add_adapter(config)
    recognizer.model.save_pretrained(tmp_path / "adapter")
    expected = recognizer(NOISE[0])
    assert expected != plain
    assert load_pipeline(tmp_path / "adapter")(NOISE[0]) == expected
    shutil.rmtree(tmp_path / kind)
    message = rf"adapter: is an adapter of peft and no model. Load its model, .*{kind}, and put it on: `recognizer"
    with pytest.raises(ValueError, match=message):
        load_pipeline(tmp_path / "adapter")


@pytest.mark.parametrize("part, name", [("qformer_config", "num_hidden_layers"), ("text_config", "num_layers")])
def test_endless_layers_are_not_built(copy_of, part, name):
    path = copy_of("lm") / "config.json"
    config = json.loads(path.read_text())
    config[part][name] = 10**12
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"lm: config.json cannot be used: `{name}` is 1000000000000; at most 1000"):
        load_pipeline(path.parent)


@pytest.mark.parametrize("size", [400_000, 0, 1.5, True])
def test_a_size_of_frames_that_is_none(copy_of, size):
    path = copy_of("classifier") / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_fft": size}))
    with pytest.raises(ValueError, match="classifier: .*`n_fft` is a whole number of 1 to 65536"):
        load_pipeline(path.parent)


def test_a_model_far_larger_than_what_is_stored_is_not_built(copy_of):
    path = copy_of("lm") / "config.json"
    config = json.loads(path.read_text())
    # The default is that of BLIP-2.
    del config["qformer_config"]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"lm: config.json, .* cannot be used: .* weights, and \d+ are stored"):
        load_pipeline(path.parent)


def test_files_that_do_not_fit_together(copy_of):
    folder = copy_of("lm")
    tiny_processor(num_query_tokens=4).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"lm: config.json, .*processor_config.json.* cannot be used: "):
        load_pipeline(folder)


@pytest.mark.parametrize("absent", [["processor_config.json"], ["processor_config.json", "tokenizer_config.json"]])
def test_a_model_without_its_processor(copy_of, absent):
    folder = copy_of("lm")
    for name in absent:
        (folder / name).unlink()
    with pytest.raises(ValueError, match=f"lm: lacks {' and '.join(absent)}, which its processor writes"):
        load_pipeline(folder)


def test_weights_that_are_no_numbers(copy_of, checkpoints):
    folder = copy_of("lm")
    model = tiny_model()
    model.model.qformer.query_tokens.data.fill_(float("nan"))
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match="model.safetensors.* cannot be used: it answers with scores that are no num"):
        load_pipeline(folder)


def test_a_checkpoint_without_shots_loads(copy_of):
    folder = copy_of("lm")
    tiny_processor(max_shots=0).save_pretrained(folder)
    assert len(load_pipeline(folder)(NOISE[0])) == len(LABELS)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "model.safetensors"])
def test_a_card_of_a_damaged_checkpoint(copy_of, name):
    folder = copy_of("lm")
    (folder / name).write_bytes((folder / name).read_bytes()[:9])
    with pytest.raises(ValueError, match=f"lm: {name} cannot be read; download it again"):
        save_card(folder)


@pytest.mark.parametrize("labels", [None, "Joy", [1], 0.5])
def test_a_card_of_a_model_without_labels(copy_of, labels):
    path = copy_of("lm") / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"candidate_labels": labels}))
    with pytest.raises(ValueError, match="lm: processor_config.json cannot be used: .*candidate_labels"):
        save_card(path.parent)


AUTO_CLASSES = ("AutoConfig", "AutoModel", "AutoModelForSpeechSeq2Seq", "AutoProcessor", "AutoFeatureExtractor")


@pytest.mark.parametrize("code", ["evil.E", "evil/repository--evil.E"])
def test_code_of_a_checkpoint_is_not_run(copy_of, code):
    folder = copy_of("lm")
    (folder / "evil.py").write_text("raise SystemExit('code was run')\nclass E: pass\n")
    auto_map = {name: code for name in AUTO_CLASSES} | {"AutoTokenizer": [code, code]}
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": auto_map}))
    assert len(load_pipeline(folder)(NOISE[0])) == len(LABELS)


@pytest.mark.parametrize("of", ["config", "tokenizer"])
def test_nobody_is_asked_whether_code_may_run(copy_of, of):
    folder = copy_of("lm")
    name, fields = {
        "config": ("config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.E"}}),
        "tokenizer": (
            "tokenizer_config.json",
            {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.E", "evil.E"]}},
        ),
    }[of]
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | fields))
    with pytest.raises(ValueError, match=rf"lm: .*{name} cannot be used: .* contains custom code"):
        load_pipeline(folder)


def test_a_name_that_is_nowhere_is_refused_at_once(monkeypatch):
    asked = []

    def ask(url):
        asked.append(url)
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(module, "get_hf_file_metadata", ask)
    with pytest.raises(
        ValueError, match=r"^org/modle: there is no such folder, and the Hub cannot be reached \(Name or"
    ):
        load_pipeline("org/modle")
    assert len(asked) == 1
    for load in (load_speech_config, load_tokenizer):
        with pytest.raises(ValueError, match="^org/modle: there is no such folder"):
            load("org/modle")
    assert len(asked) == 3
    with pytest.raises(ValueError, match="^./modle: there is no such folder, and no name of the Hub is like that"):
        load_pipeline("./modle")
