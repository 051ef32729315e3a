import pyarrow as pa
import pyarrow.parquet
import torch
from safetensors.torch import load_file
from tiny import LABELS
from tiny_corpus import compose_tiny
from transformers import AutoModelForSpeechSeq2Seq

from emoicl.training.experiments.recipe import save_checkpoint
from emoicl.training.publishing import bundle, export


def test_clips_of_the_first_speakers_with_the_labels(tmp_path):
    rows = [
        {"audio": {"bytes": f"{speaker} {emotion}".encode(), "path": None}, "emotion": emotion, "speaker_id": speaker}
        for speaker in [f"c/{number:02}" for number in range(10, 0, -1)]
        for emotion in ("joy", "surprise_negative")
    ]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    bundle.bundle_clips(tmp_path / "test.parquet", ["Joy", "Neutral"], tmp_path / "assets" / "clips.parquet")
    kept = pyarrow.parquet.read_table(tmp_path / "assets" / "clips.parquet").to_pylist()
    assert sorted(row["speaker_id"] for row in kept) == [f"c/{number:02}" for number in range(1, 9)]
    assert {row["emotion"] for row in kept} == {"joy"}
    assert kept[0]["audio"]["bytes"] == f"{kept[0]['speaker_id']} joy".encode()


def test_the_checkpoint_is_stored_in_half_precision_in_place_of_the_old(whisper, tmp_path, monkeypatch):
    model, processor = compose_tiny(whisper)
    save_checkpoint(model, processor, tmp_path / "trained")
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / "stale.bin").touch()
    (tmp_path / "bundled" / "LICENSE").write_text("by hand")
    monkeypatch.setattr(export, "verify", lambda *args: None)
    bundle.bundle_checkpoint(tmp_path / "trained", tmp_path / "bundled")
    assert not (tmp_path / "bundled" / "stale.bin").exists()
    assert (tmp_path / "bundled" / "LICENSE").read_text() == "by hand"
    assert not list((tmp_path / "bundled").glob("*.py"))
    content = "".join(path.read_text() for path in (tmp_path / "bundled").glob("*.json"))
    assert "auto_map" not in content and "custom_pipelines" not in content
    assert "trust_remote_code" not in (tmp_path / "bundled" / "README.md").read_text()
    stored = load_file(tmp_path / "bundled" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "bundled")
    assert loaded.dtype == torch.float32 and loaded.config.adaptation_config.label_words == list(LABELS)
