import ast
import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch
from bundled_models import needs_bundled
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny import LABELS, tiny_model, tiny_processor
from tiny_checkpoints import save_language_model
from tiny_classifier import tiny_classifier
from tiny_corpus import MODEL_FIELDS, SIZES, save_tiny_whisper
from transformers import AutoConfig, AutoModelForAudioClassification, AutoModelForSpeechSeq2Seq, T5Config, pipeline

from emoicl import (
    TASK,
    EmoIclClassificationPipeline,
    EmoIclForAudioClassification,
    EmoIclForConditionalGeneration,
    EmoIclPipeline,
)
from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL
from emoicl.processing import EmoIclFeatureExtractor
from emoicl.training.data.corpus import load_corpus
from emoicl.training.episodes.enrollment import select_enrollment
from emoicl.training.publishing import export as export_module
from emoicl.training.publishing import export_check
from emoicl.training.publishing.export import (
    differences,
    export,
    load_pipeline,
    noise_requests,
    publish,
    round_weights,
    stored_dtype,
    verify,
    write_folder,
)
from emoicl.training.publishing.provenance import Provenance
from emoicl.training.systems.composition import compose


ENTRIES = {
    "lm": ("configuration", "modeling", "feature_extraction", "processing", "pipeline"),
    "classifier": ("configuration", "classification", "feature_extraction", "classification_pipeline"),
}
AUTO_MODELS = {"lm": AutoModelForSpeechSeq2Seq, "classifier": AutoModelForAudioClassification}
LIBRARIES = {"numpy", "safetensors", "torch", "transformers", "huggingface_hub", *sys.stdlib_module_names}


def save_lm(folder):
    model = tiny_model()
    model.config.speech_config._name_or_path = "org/whisper"
    model.config.text_config._name_or_path = str(folder)
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    Provenance(base_models=["org/whisper"]).save(folder)
    return folder


def save_classifier(folder):
    tiny_classifier(enrollment_labels=list(LABELS)).save_pretrained(folder)
    EmoIclFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {"lm": save_lm(folder / "lm"), "classifier": save_classifier(folder / "classifier")}


@pytest.fixture(scope="module")
def exported(checkpoints, tmp_path_factory):
    """A speech language model as it is, and a classifier in half precision, in several files; both verified."""
    folder = tmp_path_factory.mktemp("exported")
    return {
        "lm": export(checkpoints["lm"], folder / "lm"),
        "classifier": export(checkpoints["classifier"], folder / "classifier", dtype="float16", max_shard_size="20KB"),
    }


@pytest.fixture
def unverified(monkeypatch):
    """Export without the process that verifies it."""
    monkeypatch.setattr(export_module, "verify", lambda *args: None)


def names(folder):
    return {path.name for path in folder.iterdir()}


def copy(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def change_weights(folder, change):
    """Rewrites the weights of a folder."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def change_json(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def relative_imports(path):
    nodes = ast.walk(ast.parse(path.read_text()))
    return {f"{node.module}.py" for node in nodes if isinstance(node, ast.ImportFrom) and node.level}


def needed_code(folder, kind):
    """The files that the classes of a folder import, found by their syntax."""
    found, new = set(), {f"{entry}_emoicl.py" for entry in ENTRIES[kind]}
    while new:
        found |= new
        new = {name for path in new for name in relative_imports(folder / path)} - found
    return found


def test_files_of_a_speech_language_model(exported):
    assert names(exported["lm"]) - needed_code(exported["lm"], "lm") == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "provenance.json",
    }
    assert needed_code(exported["lm"], "lm") <= names(exported["lm"])


def test_files_of_a_classifier(exported):
    folder = exported["classifier"]
    shards = {path.name for path in folder.glob("model-*-of-*.safetensors")}
    assert len(shards) > 1
    rest = names(folder) - needed_code(folder, "classifier") - shards
    assert rest - {"README.md"} == {"config.json", "model.safetensors.index.json", "preprocessor_config.json"}
    assert needed_code(folder, "classifier") <= names(folder)


@pytest.mark.parametrize("kind", ENTRIES)
def test_exported_code_imports_libraries_and_its_siblings_only(exported, kind):
    for path in exported[kind].glob("*.py"):
        tree = ast.parse(path.read_text())
        optional = [
            node for part in ast.walk(tree) if isinstance(part, (ast.FunctionDef, ast.Try)) for node in ast.walk(part)
        ]
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1 and node.module
                if node.level:
                    assert (path.parent / f"{node.module}.py").is_file()
                    continue
                modules = [node.module]
            allowed = LIBRARIES | {"soundfile", "torchaudio", "torchcodec"} if node in optional else LIBRARIES
            assert {module.partition(".")[0] for module in modules} <= allowed, path.name


@pytest.mark.parametrize("kind", ENTRIES)
def test_the_configuration_names_code_that_is_there(exported, kind):
    config = json.loads((exported[kind] / "config.json").read_text())
    (pipeline,) = config["custom_pipelines"].values()
    assert set(config["custom_pipelines"]) == {"audio-classification"}
    assert pipeline["pt"] == [AUTO_MODELS[kind].__name__]
    assert config["auto_map"].keys() == {"AutoConfig", AUTO_MODELS[kind].__name__}
    for implementation in [*config["auto_map"].values(), pipeline["impl"]]:
        module, name = implementation.split(".")
        assert f"class {name}(" in (exported[kind] / f"{module}.py").read_text()


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_export_of_an_export_is_the_same_to_the_byte(exported, kind, tmp_path, unverified):
    again = export(exported[kind], tmp_path / kind, max_shard_size="20KB" if kind == "classifier" else "5GB")
    assert names(again) == names(exported[kind])
    unlike = [name for name in names(again) if (again / name).read_bytes() != (exported[kind] / name).read_bytes()]
    assert unlike == []


def test_weights_are_stored_in_half_and_computed_with_in_full(checkpoints, exported):
    assert stored_dtype(checkpoints["classifier"]) == torch.float32
    assert stored_dtype(exported["classifier"]) == torch.float16
    loaded = AutoModelForAudioClassification.from_pretrained(exported["classifier"])
    assert loaded.dtype == torch.float32
    original = AutoModelForAudioClassification.from_pretrained(checkpoints["classifier"])
    for name, weight in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.half().float()), name


def test_weights_that_a_precision_cannot_hold():
    model = tiny_classifier()
    round_weights(model, torch.float32)
    model.classifier.bias.data[0] = 1e6
    with pytest.raises(ValueError, match="classifier.bias: has weights that torch.float16 cannot hold"):
        round_weights(model, torch.float16)


def test_folders_of_ones_own_machine_are_forgotten(exported):
    config = AutoConfig.from_pretrained(exported["lm"])
    assert config.speech_config._name_or_path == "org/whisper"
    assert config.text_config._name_or_path == ""
    assert str(exported["lm"].parent) not in "".join(path.read_text() for path in exported["lm"].glob("*.json"))


ALONE = """
import json, socket, sys
sys.modules["emoicl"] = None
def refuse(*args, **kwargs):
    raise OSError("The network was asked for.")
socket.socket.connect = socket.getaddrinfo = refuse

from pathlib import Path
import numpy as np
import transformers
from transformers import AutoConfig, AutoFeatureExtractor, AutoProcessor, pipeline

folder, auto_model, work, *broken = sys.argv[1:]
folder, auto_model, work = Path(folder), getattr(transformers, auto_model), Path(work)
trusting = {"local_files_only": True, "trust_remote_code": True}
tone = np.sin(np.arange(8000) / 9).astype(np.float32)
shots = [{"audio": tone[:5000] ** 3, "label": "Joy"}, {"audio": tone[:4000] * 0.1, "label": "Anger"}]
seen = {}

def answer(recognizer, **enrolled):
    return {label["label"]: label["score"] for label in recognizer(tone, **enrolled or {"enrollment": shots})}

recognizer = pipeline(model=str(folder), trust_remote_code=True)
expected = answer(recognizer)
seen["task"] = recognizer.task
seen["classes"] = [
    type(auto.from_pretrained(folder, **trusting)).__name__
    for auto in (AutoConfig, auto_model, AutoProcessor, AutoFeatureExtractor)
]

if hasattr(recognizer, "enroll"):
    recognizer.enroll(shots).save(work / "profile")
    seen["with a profile"] = answer(recognizer, profile=work / "profile")
seen["windows"] = len(recognizer(tone, enrollment=shots, window_s=0.25))

seen["as the Hub prints it"] = answer(pipeline("audio-classification", model=str(folder), trust_remote_code=True))
recognizer.save_pretrained(work / "pipeline")
seen["pipeline files"] = sorted({path.name for path in (work / "pipeline").iterdir()})
seen["saved by the pipeline"] = answer(pipeline(model=str(work / "pipeline"), trust_remote_code=True))

auto_model.from_pretrained(folder, **trusting).save_pretrained(work / "parts")
AutoProcessor.from_pretrained(folder, **trusting).save_pretrained(work / "parts")
part = "processor" if hasattr(recognizer, "enroll") else "feature_extractor"
parts = {part: AutoProcessor.from_pretrained(work / "parts", **trusting)}
rebuilt = type(recognizer)(model=auto_model.from_pretrained(work / "parts", **trusting), **parts)
seen["saved in parts"] = answer(rebuilt)
seen["expected"] = expected

seen["broken"] = []
for path in broken:
    try:
        auto_model.from_pretrained(path, **trusting)
    except ValueError as error:
        seen["broken"].append(str(error))
seen["package"] = [name for name, module in sys.modules.items() if name.partition(".")[0] == "emoicl" and module]
print(json.dumps(seen))
"""


def run_alone(folder, auto_model, work, broken=()):
    """What a process without this package and without the network sees of an exported folder."""
    process = subprocess.run(
        [sys.executable, "-P", "-c", ALONE, *map(str, (folder, auto_model.__name__, work, *broken))],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(work / "modules")},
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_the_installed_classes_need_no_trust(exported):
    """Each task of the package, in a folder with code that was exported or saved by a pipeline."""
    recognizer = pipeline(TASK, model=str(exported["lm"]), device="cpu")
    assert type(recognizer) is EmoIclPipeline and type(recognizer.model) is EmoIclForConditionalGeneration
    recognizer = pipeline(
        "audio-classification", str(exported["classifier"]), pipeline_class=EmoIclClassificationPipeline, device="cpu"
    )
    assert type(recognizer.model) is EmoIclForAudioClassification


def test_a_folder_that_a_pipeline_saved_needs_no_trust_either(checkpoints, tmp_path):
    load_pipeline(checkpoints["lm"]).save_pretrained(tmp_path)
    assert type(pipeline(TASK, model=str(tmp_path), device="cpu")) is EmoIclPipeline
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        pipeline(model=str(tmp_path))  # pyright: ignore[reportCallIssue]


def test_a_classifier_lives_on_without_the_package(exported, tmp_path):
    seen = run_alone(exported["classifier"], AutoModelForAudioClassification, tmp_path)
    assert seen["task"] == "audio-classification"
    extractor = "EmoIclFeatureExtractor"
    assert seen["classes"] == ["EmoIclClassifierConfig", "EmoIclForAudioClassification", extractor, extractor]
    for answer in ("as the Hub prints it", "saved by the pipeline", "saved in parts"):
        assert seen[answer] == pytest.approx(seen["expected"], rel=1e-3)
    assert seen["windows"] == 3
    assert seen["package"] == []


def test_a_speech_language_model_lives_on_without_the_package(exported, tmp_path):
    broken = [
        change_weights(copy(exported["lm"], tmp_path / "missing"), lambda w: w.pop("model.qformer.query_tokens")),
        change_weights(copy(exported["lm"], tmp_path / "extra"), lambda w: w.update(head=torch.zeros(2))),
        change_weights(
            copy(exported["lm"], tmp_path / "shape"),
            lambda w: w.update({"model.qformer.query_tokens": torch.zeros(2, 12)}),
        ),
    ]
    seen = run_alone(exported["lm"], AutoModelForSpeechSeq2Seq, tmp_path, broken)
    assert seen["task"] == "audio-classification"
    assert seen["classes"] == [
        "EmoIclConfig", "EmoIclForConditionalGeneration", "EmoIclProcessor", "EmoIclFeatureExtractor"
    ]  # fmt: skip
    assert set(seen["pipeline files"]) == names(exported["lm"]) - {"README.md", "provenance.json"}
    for answer in ("as the Hub prints it", "saved by the pipeline", "saved in parts", "with a profile"):
        assert seen[answer] == pytest.approx(seen["expected"], rel=1e-3)
    assert [message.partition(". ")[0] for message in seen["broken"]] == [
        "The checkpoint lacks 1 weights of EmoIclForConditionalGeneration, which would be random, such as "
        "model.qformer.query_tokens",
        "The checkpoint has 1 weights that EmoIclForConditionalGeneration has no use for, such as head",
        "The checkpoint has 1 weights of other shapes than EmoIclForConditionalGeneration, such as "
        "model.qformer.query_tokens",
    ]
    assert seen["windows"] == 3
    assert seen["package"] == []


def test_a_decoder_only_language_model_lives_on_without_the_package(tmp_path):
    """As composed, with its chat template; its profile has what the language model keeps of an enrollment."""
    whisper = save_tiny_whisper(tmp_path / "whisper")
    llama = str(save_language_model("llama", tmp_path / "llama", LABELS))
    fields = {"language_model": llama, "qformer": SIZES["qformer"]} | MODEL_FIELDS
    for part in compose(str(whisper), LABELS, **fields):
        part.save_pretrained(tmp_path / "composed")
    folder = export(tmp_path / "composed", tmp_path / "out", dtype="bfloat16")
    assert needed_code(folder, "lm") <= names(folder) and stored_dtype(folder) == torch.bfloat16
    seen = run_alone(folder, AutoModelForSpeechSeq2Seq, tmp_path)
    for answer in ("as the Hub prints it", "saved by the pipeline", "saved in parts", "with a profile"):
        assert seen[answer] == pytest.approx(seen["expected"], rel=1e-3)
    assert seen["windows"] == 3 and seen["package"] == []


def test_verification_finds_a_changed_weight(exported, tmp_path):
    folder = copy(exported["lm"], tmp_path / "lm")
    recognizer = load_pipeline(folder)
    change_weights(folder, lambda weights: weights["model.qformer.projection.bias"].mul_(1.5))
    with pytest.raises(ValueError, match="differently .*: the weights are not the same; logits of request 0 differ"):
        verify(folder, recognizer, noise_requests(recognizer))


def test_verification_finds_what_does_not_load(exported, tmp_path, monkeypatch):
    (tmp_path / "check.py").write_text("raise ImportError('audio_emoicl is missing')")
    monkeypatch.setattr(export_check, "__file__", str(tmp_path / "check.py"))
    with pytest.raises(ValueError, match="does not load where this package is absent: .*audio_emoicl is missing"):
        verify(exported["classifier"], load_pipeline(exported["classifier"]), [])


def measured(recognizer):
    processor = recognizer.processor or recognizer.feature_extractor
    return export_check.measure(recognizer.model, processor, recognizer, noise_requests(recognizer))


@pytest.mark.parametrize("kind", ENTRIES)
def test_a_model_does_not_differ_from_itself(checkpoints, kind):
    expected, found = (measured(load_pipeline(checkpoints[kind])) for _ in range(2))
    assert differences(expected, found, 1e-4) == []
    assert all(np.isfinite(logits).all() for logits in expected["logits"])


def test_a_weight_that_no_request_reaches_is_compared_too(checkpoints):
    original, changed = (load_pipeline(checkpoints["lm"]) for _ in range(2))
    changed.model.model.sequence_embeddings.weight.data[-1] += 1
    assert differences(measured(original), measured(changed), 1e-4) == ["the weights are not the same"]


@pytest.mark.parametrize(
    "file, fields, unlike",
    [
        ("processor_config.json", {"instruction": "Which of {labels}?"}, "logits of request 0"),
        ("processor_config.json", {"candidate_labels": ["Joy", "Sadness"]}, "answer 0 has the labels"),
        ("generation_config.json", {"max_new_tokens": 1}, "answer 4 has the labels"),
    ],
)
def test_what_differs_when_a_file_is_not_the_same(checkpoints, tmp_path, file, fields, unlike):
    change_json(copy(checkpoints["lm"], tmp_path / "lm") / file, **fields)
    requests = [{"audio": np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)}] * 2
    original, changed = (
        export_check.measure(recognizer.model, recognizer.processor, recognizer, requests)
        for recognizer in map(load_pipeline, (checkpoints["lm"], tmp_path / "lm"))
    )
    assert any(text.startswith(unlike) for text in differences(original, changed, 1e-4))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda weights: weights.pop("classifier.weight"), "lacks 1 weights .* such as classifier.weight"),
        (lambda weights: weights.update(old=torch.zeros(1)), "has 1 weights that .* has no use for, such as old"),
        (lambda weights: weights.update({"classifier.bias": torch.zeros(5)}), "of other shapes .* classifier.bias"),
    ],
)
def test_a_checkpoint_whose_weights_are_not_the_models_is_refused(checkpoints, tmp_path, change, message):
    folder = change_weights(copy(checkpoints["classifier"], tmp_path / "classifier"), change)
    with pytest.raises(ValueError, match=message):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_not_exported(checkpoints, tmp_path, unverified):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(ValueError, match="full: the folder is not empty"):
        export(checkpoints["lm"], tmp_path / "full")
    T5Config().save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="t5: is of type 't5'; it should be a model of this package"):
        export(tmp_path / "t5", tmp_path / "out")
    with pytest.raises(ValueError, match="gone: there is no such folder"):
        export(tmp_path / "gone", tmp_path / "out")
    with pytest.raises(ValueError, match="Repo id"):
        export(checkpoints["lm"], tmp_path / "out", push_to_hub="a/b/c")
    assert sorted(names(tmp_path)) == ["full", "t5"]


def test_nothing_is_written_or_published_unless_it_is_verified(checkpoints, tmp_path, monkeypatch):
    def refuse(folder, recognizer, requests):
        assert (folder / "README.md").is_file()
        raise ValueError("It differs.")

    published = []
    monkeypatch.setattr(export_module, "verify", refuse)
    monkeypatch.setattr(export_module, "publish", lambda *args: published.append(args))
    with pytest.raises(ValueError, match="It differs"):
        export(checkpoints["lm"], tmp_path / "out", push_to_hub="org/name")
    assert names(tmp_path) == set() and published == []

    monkeypatch.setattr(export_module, "verify", lambda *args: None)
    (tmp_path / "out").mkdir()
    folder = export(checkpoints["lm"], tmp_path / "out", push_to_hub="org/name", private=True)
    assert published == [(folder, "org/name", True)]
    assert 'model="org/name"' in (folder / "README.md").read_text()


class StandIn(BaseHTTPRequestHandler):
    """As much of the Hub as an upload needs, for one repository."""

    repository: dict[str, bytes]
    created: list[dict]
    headers_seen: list[str]
    private: bool

    def do_GET(self):
        self.note()
        if "/tree/" in self.path:
            self.reply([{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.repository])
        else:
            self.reply({"id": "org/name", "private": self.private, "siblings": []})

    def do_POST(self):
        self.note()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/api/repos/create"):
            self.created.append(json.loads(body))
            self.reply({"url": f"{constants.ENDPOINT}/org/name"})
        elif "/preupload/" in self.path:
            files = [file["path"] for file in json.loads(body)["files"]]
            self.reply({"files": [{"path": f, "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.repository[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del self.repository[line["value"]["path"]]
            self.reply({"commitUrl": f"{constants.ENDPOINT}/org/name/commit/{'1' * 40}", "commitOid": "1" * 40})
        else:
            self.reply({"errors": [], "warnings": []})

    def note(self):
        self.headers_seen.append(self.headers["Authorization"])

    def reply(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the Hub on this machine, with a repository that holds an earlier export and a file of its own."""
    old = dict.fromkeys((".gitattributes", "model-00001-of-00002.safetensors", "old_emoicl.py", "figure.png"), b"")
    handler = type("Hub", (StandIn,), {"repository": old, "created": [], "headers_seen": [], "private": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield handler
    server.shutdown()
    server.server_close()


def test_publishing(exported, hub, capsys):
    publish(exported["lm"], "org/name")
    assert hub.created[0]["name"] == "name" and hub.created[0]["organization"] == "org"
    assert set(hub.repository) == names(exported["lm"]) | {".gitattributes", "figure.png"}
    for path in exported["lm"].iterdir():
        assert hub.repository[path.name] == path.read_bytes()
    assert "Bearer hf_secret" in hub.headers_seen
    printed = capsys.readouterr()
    assert "hf_secret" not in printed.out + printed.err


def test_nothing_private_goes_into_a_public_repository(exported, hub):
    before = dict(hub.repository)
    with pytest.raises(ValueError, match="org/name: the repository is there already, and public"):
        publish(exported["lm"], "org/name", private=True)
    assert hub.repository == before
    hub.private = True
    publish(exported["lm"], "org/name", private=True)
    assert "config.json" in hub.repository
    assert hub.created[-1].get("private") or hub.created[-1].get("visibility") == "private"


@needs_bundled
def test_the_bundled_model_is_exported_and_hears_the_same_in_real_clips(tmp_path, monkeypatch):
    corpus = load_corpus(BUNDLED_CLIPS)
    recognizer: Any = load_pipeline(BURSTS_MODEL)
    hear = recognizer.processor.feature_extractor.decode
    requests = []
    for target in (0, len(corpus) // 2):
        shots = select_enrollment(corpus, target, 7, "TU+LD", (0, target))
        enrollment = [{"audio": hear(corpus[i].audio), "label": corpus.labels[i]} for i in shots]
        requests.append({"audio": hear(corpus[target].audio), "enrollment": enrollment})
    # Beside noise, which it is verified on elsewhere.
    monkeypatch.setattr(export_module, "noise_requests", lambda recognizer: requests)

    folder = export(BURSTS_MODEL, tmp_path / "bursts")
    assert stored_dtype(folder) == torch.float16
    assert not any("shared" in path.read_text() for path in folder.glob("*config.json"))


@pytest.mark.parametrize(("speech", "text"), [("whisper", "bart"), ("emoicl", "t5gemma"), ("whisper", "gemma3_text")])
def test_other_encoders_and_language_models(tmp_path, speech, text):
    tiny_model(speech=speech, text=text).save_pretrained(tmp_path / "checkpoint")
    tiny_processor().save_pretrained(tmp_path / "checkpoint")
    original = load_pipeline(tmp_path / "checkpoint")
    round_weights(original.model, torch.float16)
    write_folder(original, tmp_path / "out", torch.float16)
    assert stored_dtype(tmp_path / "out") == torch.float16
    assert differences(measured(original), measured(load_pipeline(tmp_path / "out")), 1e-4) == []


def test_write_folder_leaves_integers_alone(tmp_path):
    recognizer = load_pipeline(save_classifier(tmp_path / "classifier"))
    recognizer.model.register_buffer("count", torch.tensor(70000))
    write_folder(recognizer, tmp_path / "out", torch.float16)
    assert load_file(tmp_path / "out" / "model.safetensors")["count"] == 70000
