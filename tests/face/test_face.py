import os
import subprocess
import sys

import pytest
from bundled_models import needs_bundled
from tiny_corpus import compose_tiny, tone
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForMultimodalLM,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    pipeline,
)

import emoicl
from emoicl.bundled import BURSTS_MODEL, SPEECH_MODEL


@pytest.mark.parametrize("name", emoicl.__all__)
def test_public_names(name):
    assert getattr(emoicl, name) is not None
    assert name in dir(emoicl)


def test_names_that_are_not_public():
    with pytest.raises(AttributeError, match="'emoicl' has no attribute 'EmoIclTrainer'"):
        emoicl.EmoIclTrainer  # noqa: B018


def test_auto_classes_load_a_checkpoint(checkpoint):
    assert type(AutoConfig.from_pretrained(checkpoint)) is emoicl.EmoIclConfig
    for auto_class in (AutoModelForSpeechSeq2Seq, AutoModelForMultimodalLM):
        assert type(auto_class.from_pretrained(checkpoint)) is emoicl.EmoIclForConditionalGeneration
    assert type(AutoFeatureExtractor.from_pretrained(checkpoint)) is emoicl.EmoIclFeatureExtractor
    assert type(AutoProcessor.from_pretrained(checkpoint)) is emoicl.EmoIclProcessor


def test_the_task_is_registered(checkpoint):
    model, processor = compose_tiny(checkpoint.parent / "whisper")
    recognizer = pipeline(emoicl.TASK, model=model, processor=processor)  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert type(recognizer) is emoicl.EmoIclPipeline
    answers = recognizer(tone(440), enrollment=[{"audio": tone(880), "label": "Joy"}], top_k=1)
    assert answers[0].keys() == {"label", "score"}


@needs_bundled
def test_without_a_name_the_bundled_model_of_speech_is_loaded_offline():
    script = """
import socket
from transformers import pipeline
def refuse(*args, **kwargs):
    raise AssertionError("The network was asked for.")
socket.getaddrinfo = socket.socket.connect = refuse
import emoicl
for recognizer in (pipeline(emoicl.TASK), pipeline(task=emoicl.TASK), emoicl.load_pipeline()):
    print(type(recognizer).__name__, recognizer.model.name_or_path)
"""
    assert run(script).splitlines() == 3 * [f"EmoIclPipeline {SPEECH_MODEL}"]


@needs_bundled
def test_bundled_models_are_loaded_by_name():
    assert emoicl.load_pipeline("bursts").model.name_or_path == str(BURSTS_MODEL)


def run(script, **environment):
    """Runs a script in a fresh interpreter and returns what it prints."""
    process = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_importing_is_light_and_offline():
    script = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("The network was asked for.")
socket.getaddrinfo = socket.socket.connect = refuse
# Some versions of transformers bring scikit-learn themselves.
from transformers import GenerationMixin
before = set(sys.modules)
import emoicl
heavy = {"matplotlib", "pandas", "sklearn", "gradio", "pyarrow", "datasets", "emoicl.training"}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    assert run(script) == "[]"


def test_a_checkpoint_loads_where_the_package_is_absent(checkpoint, tmp_path):
    script = f"""
import sys
sys.modules["emoicl"] = None
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor
model = AutoModelForSpeechSeq2Seq.from_pretrained({str(checkpoint)!r}, trust_remote_code=True)
processor = AutoProcessor.from_pretrained({str(checkpoint)!r}, trust_remote_code=True)
print(type(model).__module__.split(".")[0], type(processor).__name__)
"""
    assert run(script, HF_MODULES_CACHE=str(tmp_path)) == "transformers_modules EmoIclProcessor"
