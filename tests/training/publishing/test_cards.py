import argparse
import ast
import json
import re
from typing import Any

import numpy as np
import pytest
import yaml
from bundled_models import needs_bundled
from huggingface_hub import ModelCard, parse_eval_result_entries
from tiny import LABELS
from tiny_checkpoints import save_language_model
from tiny_corpus import compose_tiny, tone
from transformers import TrainerState

from emoicl.bundled import BUNDLED_MODELS, SPEECH_MODEL
from emoicl.training.corpora.card import reader_card, save_reader_cards
from emoicl.training.corpora.readers import CORPORA
from emoicl.training.data.corpus import Corpus, Utterance
from emoicl.training.evaluation.reports import Condition, EvaluationReport
from emoicl.training.experiments.recipe import save_checkpoint
from emoicl.training.experiments.stage_running import run_stage, stage_arguments
from emoicl.training.publishing.card_callback import ModelCardCallback
from emoicl.training.publishing.cards import checkpoint_card, save_card
from emoicl.training.publishing.cross_corpus import checkpoint_identity, save_matrix
from emoicl.training.publishing.eval_results import save_eval_results
from emoicl.training.publishing.provenance import (
    MATRIX_NAME,
    PROVENANCE_NAME,
    Provenance,
    carry_provenance,
    describe_stage,
)
from emoicl.training.systems.composition import compose_classifier
from emoicl.training.systems.meta_icl_config import MetaIclTrainingArguments
from emoicl.training.systems.meta_icl_trainer import MetaIclTrainer
from emoicl_commands import card as card_command


SECTIONS = [
    "How to use",
    "What it is",
    "Training data",
    "Training",
    "Results",
    "What the labels mean",
    "Intended use, and what it must not be used for",
    "Consent, and deleting what is kept of a person",
    "Limits",
    "License",
    "How to cite",
]
NOT_RECORDED = ["Training data", "Training", "Results", "What the labels mean"]


def speaking(corpus, name, speakers):
    """The corpus as one of the name, its first speakers alone."""
    names = list(corpus.by_speaker)[:speakers]
    return Corpus(
        Utterance(utterance.audio, utterance.label, f"{name}/{utterance.speaker_id}", utterance.name)
        for utterance in corpus
        if utterance.speaker_id in names
    )


def provenance_of(training, validation=None, **fields):
    args = MetaIclTrainingArguments("stage_one", max_steps=5, seed=3, learning_rate=2e-4)
    return Provenance(stages=[describe_stage(args, TrainerState(global_step=5), training, validation)], **fields)


def report_on(corpus) -> dict:
    """A report whose accuracy is 0 without and 1 with shots, and 0 under a control."""
    report = EvaluationReport("TU+LD", [0, 1], corpus.labels, corpus.speaker_ids, candidate_labels=list(LABELS))
    columns = [LABELS.index(label) for label in corpus.labels]
    for shots, control, right in ((0, None, 0), (3, None, 1), (3, "rotated", 0), (3, "other_speaker", 0)):
        condition = Condition(shots, control)
        for _ in report.seeds:
            shift = 0 if right else 1
            probabilities = [[float((column + shift) % 3 == i) for i in range(3)] for column in columns]
            condition.add(np.array(probabilities), LABELS)
        report.conditions.append(condition)
    return json.loads(json.dumps(report.as_dict()))


@pytest.fixture
def checkpoint(composed, tmp_path):
    model, processor = composed
    save_checkpoint(model, processor, tmp_path / "tiny-tones")
    return tmp_path / "tiny-tones"


@pytest.fixture
def complete(checkpoint, corpus):
    """A checkpoint of which all is known."""
    provenance = provenance_of(
        speaking(corpus, "emogator", 2),
        speaking(corpus, "ravdess", 1),
        remarks={
            "limits": ["Tones, not speech."],
            "results": ["It was easy."],
            "base_models": ["openai/whisper-base"],
        },
    )
    provenance.save(checkpoint)
    (checkpoint / "report.json").write_text(json.dumps(report_on(speaking(corpus, "nemo", 4))))
    (checkpoint / "accuracy_against_shots.png").write_bytes(b"png")
    return checkpoint


def test_a_row_without_labels_is_no_control(complete, corpus):
    report = report_on(speaking(corpus, "nemo", 4))
    report["rows"].append(report["rows"][1] | {"control": "unlabeled", "ua_spk": 0.75})
    (complete / "report.json").write_text(json.dumps(report))
    results = " ".join(sections(checkpoint_card(complete))["Results"].split())
    assert "| 3, without labels | 0.750 |" in results
    assert "with the labels rotated 0.000, with another speaker's enrollment 0.000." in results
    assert "Without labels, any 3 other utterances of the speaker make it 0.750. This is no control" in results


def matrix_of(checkpoint, **fields):
    """What `emoicl matrix` writes of a checkpoint, and of another system."""

    def report(shots, controls=()):
        rows = [(k, None) for k in shots] + [(shots[-1], control) for control in controls]
        return {
            "num_utterances": 20,
            "rows": [
                {
                    "shots": k,
                    "control": control,
                    "ua_spk": 0.1 * (k + 1),
                    "min": 0.05 * k,
                    "nll": 2 - 0.1 * k,
                    "ece": 0.2,
                }
                | {"per_speaker": {"ravdess/01": 0.5}}
                for k, control in rows
            ],
        }

    own = checkpoint_identity(checkpoint)
    return {
        "setting": "TU+LD",
        "seeds": [0, 1],
        "systems": [{"name": "another", "identity": "0"}, {"name": "a/path/to/it", "identity": own}],
        "cells": [
            {"system": "another", "corpus": "ravdess", "mark": "", "report": report((0, 1))},
            {"system": "a/path/to/it", "corpus": "ravdess", "mark": "*", "report": report((0, 1, 3), ("rotated",))},
            {"system": "a/path/to/it", "corpus": "nemo", "mark": "", "report": report((0, 1))},
        ],
    } | fields


@pytest.mark.parametrize("has_report", [True, False])
def test_the_row_of_a_matrix(complete, tmp_path, has_report):
    if not has_report:
        (complete / "report.json").unlink()
    (tmp_path / "matrix").mkdir()
    (tmp_path / "matrix" / MATRIX_NAME).write_text(json.dumps(matrix_of(complete)))
    save_matrix(tmp_path / "matrix", complete)
    assert "ravdess/01" not in (complete / MATRIX_NAME).read_text(), "of single speakers nothing is kept"
    carry_provenance(complete, tmp_path / "copy")
    assert (tmp_path / "copy" / MATRIX_NAME).read_bytes() == (complete / MATRIX_NAME).read_bytes()
    card = checkpoint_card(complete)
    check_pattern(card, SECTIONS)
    table = sections(card)["Results"].partition("### On each corpus")[2]
    assert "| corpus | utterances | 0 shots | 1 shot | 3 shots | labels rotated |" in table
    assert "| ravdess \\* | 20 | 0.100 (2.00) | 0.200 (1.90) | 0.400 (1.70) | 0.400 | 0.150 | 0.200 |" in table
    assert "| nemo | 20 | 0.100 (2.00) | 0.200 (1.90) | - | - | 0.050 | 0.200 |" in table
    assert "another" not in table and "a/path" not in table


def test_the_matrix_of_other_weights_is_refused(complete, tmp_path):
    (tmp_path / MATRIX_NAME).write_text(json.dumps(matrix_of(complete)))
    (complete / "model.safetensors").write_bytes((complete / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(ValueError, match="no row of .* as it is now, but of another, a/path/to/it. `emoicl"):
        save_matrix(tmp_path, complete)
    assert not (complete / MATRIX_NAME).exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cells": [{"corpus": "nemo"}]}, "lacks mark, report, system"),
        ({"seeds": "0"}, "`seeds` should be a list"),
        (
            {"cells": [{"system": "it", "corpus": "nemo", "mark": "", "report": {"num_utterances": 2, "rows": []}}]},
            "has no row without a control of nemo",
        ),
    ],
)
def test_a_damaged_matrix_is_named(complete, fields, message):
    (complete / MATRIX_NAME).write_text(json.dumps(matrix_of(complete, **fields)))
    with pytest.raises(ValueError, match=f"{MATRIX_NAME}: .*{message}"):
        checkpoint_card(complete)


def sections(card: str) -> dict[str, str]:
    """Text of each section by its title."""
    parts = re.split(r"^## (.+)$", ModelCard(card).text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def metadata(card: str) -> Any:
    """The head of a card."""
    return ModelCard(card).data


def check_pattern(card: str, expected: list[str]) -> None:
    """What holds for every card."""
    found = sections(card)
    assert list(found) == expected
    assert [title for title, text in found.items() if not text.strip()] == []
    # A brace after a brace is BibTeX.
    for word in ("{{ ", " }}", "{%", "None", "unknown", "Undefined", "nan", "\n\n\n"):
        assert word not in card, word
    assert card.endswith("\n") and not card.endswith("\n\n")


def test_a_complete_card(complete):
    card = checkpoint_card(complete, "org/tiny-tones")
    check_pattern(card, SECTIONS)
    data = metadata(card)
    assert data.license == "apache-2.0"
    assert data.base_model == "openai/whisper-base"
    assert data.labels == list(LABELS)
    assert data.library_name == "transformers"
    assert data.model_name == "tiny-tones"
    assert [(r.dataset_type, r.metric_name, r.metric_value) for r in data.eval_results] == [
        ("nemo", "UA_spk, 0-shot", 0.0),
        ("nemo", "UA_spk, 3-shot", 1.0),
    ]
    text = sections(card)
    assert "| EmoGator | training (stage_one) | 2 | 18 |" in text["Training data"]
    assert "| RAVDESS (speech) | validation (stage_one) | 1 | 9 |" in text["Training data"]
    assert "1. `stage_one`: 5 steps." in text["Training"]
    assert "| seed | 3 |" in text["Training"]
    assert "| 3, labels rotated | 0.000 |" in text["Results"]
    assert "4 of the 4 speakers gain and 0 lose" in text["Results"]
    assert "none of these speakers was trained on" in text["Results"]
    assert "calibration error (15 bins) is 1.000 with 0 shots and 0.000 with 3" in " ".join(text["Results"].split())
    assert "Gini coefficient over speakers is 0.000" in text["Results"]
    assert "](accuracy_against_shots.png)" in text["Results"]
    assert "It was easy." in text["Results"] and "Tones, not speech." in text["Limits"]
    assert "Article 5(1)(f)" in text["Intended use, and what it must not be used for"]
    assert "buhl2023emogator" in text["How to cite"] and "livingstone" not in text["How to cite"]


def test_what_is_not_known_is_left_out(checkpoint):
    card = checkpoint_card(checkpoint)
    check_pattern(card, [title for title in SECTIONS if title not in NOT_RECORDED])
    data = metadata(card).to_dict()
    assert not {"license", "model-index", "base_model", "language"} & set(data)
    assert "No evaluation is stored" in sections(card)["Limits"]
    assert "not recorded" in sections(card)["License"]


@pytest.mark.parametrize(
    ("corpora", "fields", "license", "said"),
    [
        (["emogator", "ravdess"], {}, "cc-by-nc-sa-4.0", "the strictest license"),
        (["esd"], {}, "other", "ESD license (research only)"),
        (["emogator", "emo-db"], {}, None, "none is known of EMO-DB"),
        (["emogator", "mine"], {}, None, "none is known of mine"),
        (["emogator"], {"is_complete": False}, None, "does not tell what it learned from"),
    ],
)
def test_license_of_the_weights(checkpoint, corpus, corpora, fields, license, said):
    parts = [speaking(corpus, name, 1).utterances for name in corpora]
    # Clips of one corpus are not those of another.
    unlike = [
        Utterance(tone(100 + 50 * i, seed=j), u.label, u.speaker_id, u.name)
        for i, part in enumerate(parts)
        for j, u in enumerate(part)
    ]
    provenance_of(Corpus(unlike), **fields).save(checkpoint)
    card = checkpoint_card(checkpoint)
    data = metadata(card).to_dict()
    assert data.get("license") == license
    assert said in sections(card)["License"]
    assert ("license_name" in data) == (license == "other")


def test_corpora_without_a_name(checkpoint, corpus):
    provenance_of(corpus).save(checkpoint)
    (checkpoint / "report.json").write_text(json.dumps(report_on(corpus)))
    card = checkpoint_card(checkpoint)
    check_pattern(card, [title for title in SECTIONS if title != "What the labels mean"])
    assert "a corpus without a name" in sections(card)["Training data"]
    # The Hub's results are on a named data set.
    assert "model-index" not in metadata(card).to_dict()


def test_speakers_that_were_trained_on_are_told(checkpoint, corpus):
    provenance_of(speaking(corpus, "nemo", 2)).save(checkpoint)
    (checkpoint / "report.json").write_text(json.dumps(report_on(speaking(corpus, "nemo", 4))))
    results = sections(checkpoint_card(checkpoint))["Results"]
    assert "**2 of these speakers were trained on" in results
    assert "none of these speakers" not in results


HOSTILE = [
    "<script>alert(1)</script>",
    "Joy\n\n## Injected heading",
    "{{ labels }}",
    'a", "label": "b"}]\nimport os; os.system("id")  #',
    "x | y",
    "```\nfence",
    "[link](https://example.org) ![image](x) *bold* _it_ `code`",
]


def test_labels_and_names_are_shown_as_they_are(complete):
    """A card is no place to put markup or code into: not by labels, not by names, not by what a run has stored."""
    processor = json.loads((complete / "processor_config.json").read_text())
    (complete / "processor_config.json").write_text(json.dumps(processor | {"candidate_labels": HOSTILE}))
    stored = json.loads((complete / PROVENANCE_NAME).read_text())
    counts = stored["stages"][0]["data"]["training"].popitem()[1]
    stored["stages"][0]["data"]["training"]["<b>corpus</b>\n## Another"] = counts
    stored["stages"][0]["name"] = "a | b`\n## Third"
    stored["remarks"]["name"] = "<i>name</i>"
    (complete / PROVENANCE_NAME).write_text(json.dumps(stored))
    card = checkpoint_card(complete)
    assert list(sections(card)) == [title for title in SECTIONS if title != "What the labels mean"]
    prose = re.sub(r"^```.*?^```$", "", ModelCard(card).text, flags=re.MULTILINE | re.DOTALL)
    assert "&lt;script&gt;" in prose and "{{ labels }}" in prose and r"x \| y" in prose
    assert not re.search(r"<[sbi]|[^\\](\[link|\*bold)|^## (Injected|Another|Third)", prose, re.MULTILINE)
    assert metadata(card).labels == HOSTILE
    for snippet in snippets(card):
        tree = ast.parse(snippet)
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert "os" not in modules
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert "enrollment =" not in snippet or {HOSTILE[0], HOSTILE[-1]} <= texts


def test_a_damaged_report_is_named(complete):
    report = json.loads((complete / "report.json").read_text())
    for damage, message in (
        ({"rows": []}, "no row without a control"),
        ({"rows": None}, "`rows` should be a list, and is null"),
        ({"seeds": {}}, "`seeds` should be a list"),
    ):
        (complete / "report.json").write_text(json.dumps(report | damage))
        with pytest.raises(ValueError, match=message):
            checkpoint_card(complete)


def snippets(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)


def run_snippets(card: str, folder, monkeypatch) -> dict:
    """Runs the snippets of a card one after the other where their clips are."""
    monkeypatch.chdir(folder)
    for number, name in enumerate(("hello", "first", "second")):
        (folder / f"{name}.wav").write_bytes(tone(200 + 100 * number, seconds=0.4, seed=number))
    namespace: dict = {}
    for snippet in snippets(card):
        exec(snippet, namespace)
    return namespace


def test_snippets_run(checkpoint, monkeypatch, capsys):
    card = checkpoint_card(checkpoint)
    assert len(snippets(card)) == 2
    namespace = run_snippets(card, checkpoint.parent, monkeypatch)
    assert len(namespace["profile"]) == 2
    assert not (checkpoint.parent / "me.profile").exists()
    answers = capsys.readouterr().out.strip().splitlines()
    assert len(answers) == 3
    # A profile answers as its enrollment does.
    by_enrollment, by_profile = (ast.literal_eval(answer) for answer in answers[1:])
    assert [answer["label"] for answer in by_profile] == [answer["label"] for answer in by_enrollment]
    assert [a["score"] for a in by_profile] == pytest.approx([a["score"] for a in by_enrollment], abs=1e-6)


@needs_bundled
def test_snippets_of_the_bundled_model_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "speech").symlink_to(SPEECH_MODEL)
    run_snippets(checkpoint_card(tmp_path / "speech", beside=tmp_path), tmp_path, monkeypatch)
    assert "Neutral" in capsys.readouterr().out


def test_cards_for_the_hub_need_no_package(checkpoint):
    first, *_ = snippets(checkpoint_card(checkpoint, "org/name"))
    assert 'model="org/name"' in first and "trust_remote_code=True" in first and "emoicl" not in first


@pytest.mark.parametrize("enrollment_labels", [None, list(LABELS)])
def test_classifiers_have_cards(whisper, tmp_path, monkeypatch, enrollment_labels, capsys):
    sizes: dict[str, Any] = {
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    model, extractor = compose_classifier(str(whisper), LABELS, enrollment_labels, **sizes)
    model.save_pretrained(tmp_path / "classifier")
    extractor.save_pretrained(tmp_path / "classifier")
    card = checkpoint_card(tmp_path / "classifier")
    absent = NOT_RECORDED if enrollment_labels else [*NOT_RECORDED, SECTIONS[7]]
    check_pattern(card, [title for title in SECTIONS if title not in absent])
    run_snippets(card, tmp_path, monkeypatch)
    assert len(capsys.readouterr().out.splitlines()) == (2 if enrollment_labels else 1)


def test_the_form_of_a_language_model_is_told(checkpoint, whisper, tmp_path):
    assert "the prompt of an encoder-decoder language model" in checkpoint_card(checkpoint)
    language_model = save_language_model("llama", tmp_path / "language_model", LABELS)
    save_checkpoint(*compose_tiny(whisper, language_model=str(language_model), text=None), tmp_path / "model")
    assert "the prompt of a decoder-only language model" in checkpoint_card(tmp_path / "model")


def test_folders_that_are_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="it lacks config.json"):
        checkpoint_card(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ValueError, match="is of type 't5'; it should be a model of this package"):
        checkpoint_card(tmp_path)


@pytest.fixture
def trained(composed, corpus, features, tmp_path):
    model, processor = composed
    trainer = MetaIclTrainer(
        model=model,
        args=MetaIclTrainingArguments(
            str(tmp_path / "run"),
            max_steps=2,
            per_device_train_batch_size=6,
            eval_strategy="steps",
            eval_steps=1,
            eval_shots=[0],
            save_strategy="steps",
            save_steps=1,
            load_best_model_at_end=True,
            metric_for_best_model="ua_spk",
            greater_is_better=True,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=speaking(corpus, "emogator", 3),
        eval_dataset=speaking(corpus, "emogator", 4),
        processing_class=processor,
        features=features,
    )
    trainer.train()
    return trainer


def test_the_trainer_writes_cards(trained, tmp_path):
    for step in (1, 2):
        card = (tmp_path / "run" / f"checkpoint-{step}" / "README.md").read_text()
        check_pattern(card, [title for title in SECTIONS if title != "Results"])
        assert f"`run`: {step} step" in card
        assert metadata(card).license == "apache-2.0"
    provenance = Provenance.load(tmp_path / "run" / PROVENANCE_NAME)
    stage: Any
    (stage,) = provenance.stages
    assert stage["best_metric"] == trained.state.best_metric and stage["best_step"] in (1, 2)
    assert stage["data"]["validation"]["emogator"]["speakers"] == 4
    assert stage["minutes"] >= 0
    trained.save_model(str(tmp_path / "mine"))
    assert "of which step" in (tmp_path / "mine" / "README.md").read_text()
    # What is fine-tuned from it has both runs behind it.
    loaded = type(trained.model).from_pretrained(tmp_path / "mine")
    assert Provenance.of_model(loaded).stages == provenance.stages


def test_stages_add_up(composed, corpus, features, tmp_path):
    model, processor = composed
    for stage in ("first", "second"):
        arguments = {"max_steps": 1, "save_steps": 1, "eval_steps": 1, "eval_shots": [0], "use_cpu": True}
        args = MetaIclTrainingArguments(**(stage_arguments(tmp_path / stage, 0) | arguments))
        model = run_stage(
            tmp_path / stage,
            model,
            lambda model, args=args: MetaIclTrainer(model, args, corpus, processor, corpus, features),
        )
    provenance = Provenance.load(tmp_path / "second" / "model" / PROVENANCE_NAME)
    assert [(stage["name"], stage["steps"]) for stage in provenance.stages] == [("first", 1), ("second", 1)]
    assert provenance.is_complete
    card = checkpoint_card(tmp_path / "second" / "model")
    assert "training (first, second)" in sections(card)["Training data"]


def test_nothing_is_written_before_training(corpus, tmp_path):
    ModelCardCallback(corpus).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_command(complete, corpus, tmp_path, capsys):
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "report.json").write_text(json.dumps(report_on(speaking(corpus, "savee", 4))))
    parser = argparse.ArgumentParser()
    card_command.add_parser(parser.add_subparsers())
    output = tmp_path / "cards" / "mine.md"
    options = parser.parse_args(["card", str(complete), "--report", str(evaluation), "--output", str(output)])
    options.run(options)
    assert f"Wrote {output}" in capsys.readouterr().out
    assert "4 speakers of SAVEE" in output.read_text()
    assert "](../tiny-tones/accuracy_against_shots.png)" in output.read_text()
    assert save_card(complete) == complete / "README.md"


def test_cards_of_the_package_are_up_to_date(request):
    """`python -m emoicl.training.corpora.card model_cards/datasets`."""
    folder = request.config.rootpath / "model_cards"
    if not folder.is_dir():
        pytest.skip("needs the repository")
    assert {path.stem for path in (folder / "datasets").iterdir()} == set(CORPORA)
    for name, reader in CORPORA.items():
        assert (folder / "datasets" / f"{name}.md").read_text() == reader_card(reader), name


@needs_bundled
@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_cards_of_bundled_models_are_up_to_date(request, name):
    """`emoicl card speech --output model_cards/speech.md`, and as much for `bursts`."""
    folder = request.config.rootpath / "model_cards"
    if not folder.is_dir():
        pytest.skip("needs the repository")
    card = (folder / f"{name}.md").read_text()
    assert card == checkpoint_card(BUNDLED_MODELS[name], beside=folder)
    check_pattern(card, SECTIONS)
    license = {"speech": "cc-by-nc-sa-4.0", "bursts": "apache-2.0"}[name]
    assert metadata(card).license == license


@pytest.mark.parametrize("reader", CORPORA.values(), ids=CORPORA)
def test_cards_of_corpora(reader):
    card = reader_card(reader)
    found = sections(card)
    assert list(found) == ["Labels", "License", "Consent and intended use", "Citation"]
    assert [title for title, text in found.items() if not text.strip()] == []
    assert "{{ " not in card and "{%" not in card and "\n\n\n" not in card
    assert f"emoicl corpus prepare {reader.name} " in card
    assert all(f"| {emotion} | {native} |" in card for native, emotion in reader.label_map.items())
    assert (metadata(card).language or []) == list(reader.languages)


def test_cards_of_all_corpora(tmp_path):
    assert len(save_reader_cards(tmp_path / "datasets")) == len(CORPORA)


def test_results_on_a_data_set_of_the_hub_are_written_for_its_leaderboard(complete):
    (complete / ".eval_results").mkdir()
    for name in ("emoicl-nemo-7-shot.yaml", "others.yaml"):
        (complete / ".eval_results" / name).write_text("[]")
    paths = save_eval_results(complete)
    assert [path.name for path in paths] == ["emoicl-nemo-0-shot.yaml", "emoicl-nemo-3-shot.yaml"]
    kept = {path.name for path in (complete / ".eval_results").iterdir()}
    assert kept == {"others.yaml", *(path.name for path in paths)}, "an older report of ours is gone"
    [[no_shots], [three]] = [parse_eval_result_entries(yaml.safe_load(path.read_text())) for path in paths]
    assert (no_shots.dataset_id, no_shots.value, three.value) == ("amu-cai/nEMO", 0, 1)
    assert (three.notes or "").endswith("3 enrolled utterances of the speaker")


def test_a_corpus_that_is_not_on_the_hub_has_no_leaderboard(complete, corpus):
    (complete / "report.json").write_text(json.dumps(report_on(speaking(corpus, "ravdess", 4))))
    assert save_eval_results(complete) == [] and not (complete / ".eval_results").exists()
