import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile

from emoicl.processing.audio_emoicl import decode_audio
from emoicl.training.corpora.clip_checks import check_clip
from emoicl.training.corpora.inspection import inspect_tables
from emoicl.training.corpora.inspection_report import report_text, save_report
from emoicl.training.corpora.near_duplicates import find_near_duplicates, fingerprint, similarity
from emoicl.training.corpora.sentence_leakage import measure_leakage


RATE = 16000


def voice(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Something like speech: syllables of a wandering pitch, with pauses."""
    rng = np.random.default_rng(seed)
    size = round(seconds * RATE)
    points = np.linspace(0, size, 9)
    pitch = np.interp(np.arange(size), points, rng.uniform(90, 250, 9))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    loudness = np.interp(np.arange(size), points, rng.uniform(0, 1, 9) * (rng.random(9) > 0.2))
    harmonics = [rng.uniform(0.3, 1) / n * np.sin(n * phase + rng.uniform(0, 6)) for n in range(1, 12)]
    waveform = loudness * np.sum(harmonics, axis=0) + 0.003 * rng.standard_normal(size)
    return 0.5 * waveform / np.abs(waveform).max()


def encode(waveform: np.ndarray, format: str = "WAV", subtype: str | None = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=format, subtype=subtype)
    return file.getvalue()


def rows_of(speakers="ab", emotions=("anger", "joy", "neutral"), takes=2, **columns):
    """A complete design in which every clip is different."""
    names = [(speaker, emotion, take) for speaker in speakers for emotion in emotions for take in range(takes)]
    return [
        {
            "audio": {"bytes": encode(voice(seed)), "path": f"{speaker}_{emotion}_{take}.wav"},
            "speaker_id": f"mine/{speaker}",
            "emotion": emotion,
            **columns,
        }
        for seed, (speaker, emotion, take) in enumerate(names)
    ]


def write(path, rows):
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    return path


def numbers_of(names):
    """The row numbers in names such as `t.parquet row 3 (x.wav)`."""
    return [int(name.split(" row ")[1].split()[0]) for name in names]


def test_a_sound_table_has_nothing_to_look_at(tmp_path):
    found = inspect_tables([write(tmp_path / "t.parquet", rows_of(corpus="mine"))])
    assert not any(found.findings.values())
    assert found.copies == [] and found.missing_cells == {}
    assert found.counts == {"mine": {f"mine/{s}": {"Anger": 2, "Joy": 2, "Neutral": 2} for s in "ab"}}
    assert found.formats == {"16000 Hz, 1 channel, WAV PCM_16": 12}
    assert found.durations["mine"]["Joy"] == [1.0] * 4
    assert found.skipped == ["mine: neither sentence_id nor text is given, so sentences are not looked at."]


def test_each_planted_defect_is_found_and_nothing_else(tmp_path):
    rows = rows_of()
    quiet = voice(50)
    rows[1]["audio"]["bytes"] = encode(1e-3 * quiet)
    rows[2]["audio"]["bytes"] = encode((3 * voice(51)).clip(-1, 1))
    rows[3]["audio"]["bytes"] = rows[4]["audio"]["bytes"][:9000]
    rows[5]["audio"] = {"bytes": None, "path": None}
    rows[6]["emotion"] = None
    rows[7]["audio"]["bytes"] = encode(np.stack([voice(52)] * 2, axis=1), rate=22050)
    found = inspect_tables([write(tmp_path / "t.parquet", rows)])
    rows_found = {kind: numbers_of(names) for kind, names in found.findings.items()}
    assert rows_found == {"incomplete": [6, 7], "unusable": [4], "silent": [2], "clipped": [3]}
    assert found.findings["incomplete"] == {
        "t.parquet row 6": "no audio",
        "t.parquet row 7 (b_anger_0.wav)": "no emotion",
    }
    assert "truncated" in found.findings["unusable"]["t.parquet row 4 (a_joy_1.wav)"]
    assert found.formats["22050 Hz, 2 channels, WAV PCM_16"] == 1
    assert found.copies == []


def test_silent_and_clipped_are_as_they_are_defined():
    tone = np.sin(np.arange(RATE) / 50)
    assert check_clip(encode(1.1e-3 * tone, subtype="FLOAT")).is_silent is False
    assert check_clip(encode(0.9e-3 * tone, subtype="FLOAT")).is_silent is True
    assert check_clip(encode(np.zeros(RATE))).is_silent is True
    two, three = 0.5 * tone, 0.5 * tone
    two[100:102] = 1.0
    three[100:103] = -1.0
    assert check_clip(encode(two)).num_clipped == 0
    assert check_clip(encode(three)).num_clipped == 3
    assert check_clip(encode(np.stack([0.5 * tone, three], axis=1))).num_clipped == 3


def test_copies_are_found_with_their_contradictions(tmp_path):
    rows = rows_of()
    rows[1]["audio"]["bytes"] = rows[0]["audio"]["bytes"]
    rows[8]["audio"]["bytes"] = rows[3]["audio"]["bytes"]
    encoded_again = encode(0.3 * voice(4)[round(0.1 * RATE) :], "OGG", "OPUS")
    rows[10]["audio"]["bytes"] = encoded_again
    found = inspect_tables([write(tmp_path / "t.parquet", rows)])
    groups = [(c.kind, c.contradiction, numbers_of(clip.name for clip in c.clips)) for c in found.copies]
    assert groups == [
        ("byte-identical", "", [1, 2]),
        ("byte-identical", "speaker", [4, 9]),
        ("near-identical", "speaker", [5, 11]),
    ]
    # Of speaker a, one anger, one joy and one neutral clip are left, of b two anger, one joy and one neutral.
    assert found.shots["mine/a"]["TU+LU"] == 2 and found.shots["mine/b"]["TU+LU"] == 3
    assert found.shots["mine/a"]["TO+LO"] == 0


def test_tables_of_one_name_are_told_apart(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        rows = [{**row, "speaker_id": "a"} for row in rows_of("a")]
        write(tmp_path / folder / "t.parquet", [{**row, "emotion": ""} for row in rows[:2]] + rows)
    found = inspect_tables([tmp_path / "one", tmp_path / "other"])
    assert len(found.findings["incomplete"]) == 4
    assert list(found.counts) == [str(tmp_path / "one" / "t"), str(tmp_path / "other" / "t")]
    assert [group.kind for group in found.copies] == ["byte-identical"] * 6
    assert any("a table counts as a corpus" in reason for reason in found.skipped)


def test_copies_across_tables(tmp_path):
    rows = rows_of()
    one, other = write(tmp_path / "train.parquet", rows[:6]), write(tmp_path / "test.parquet", rows[5:])
    found = inspect_tables([one, other])
    (copies,) = found.copies
    assert [clip.name.split()[0] for clip in copies.clips] == ["train.parquet", "test.parquet"]
    assert list(found.counts) == ["mine"]
    assert not any("counts as a corpus" in reason for reason in found.skipped)


@pytest.mark.parametrize(
    "change",
    [
        lambda clip: encode(clip, "MP3"),
        lambda clip: encode(clip, "OGG", "VORBIS"),
        lambda clip: encode(clip[::2], "WAV", "ULAW", rate=RATE // 2),
        lambda clip: encode(clip[1234:]),
        lambda clip: encode(np.pad(0.1 * clip[:-1111], 2000)),
    ],
    ids=["mp3", "vorbis", "telephone", "beginning cut", "end cut, padded, softer"],
)
def test_a_changed_copy_is_found_among_others(change):
    clips = [voice(seed) for seed in range(40)]
    prints = [fingerprint(clip.astype(np.float32)) for clip in clips]
    prints.append(fingerprint(decode_audio(change(clips[7]))))
    assert find_near_duplicates(prints) == [[7, 40]]
    assert similarity(prints[7], prints[40]) > 0.65 > 0.45 > similarity(prints[8], prints[40])


def test_two_hums_are_no_copies():
    times = np.arange(2 * RATE) / RATE
    hums = [
        np.sin(2 * np.pi * 120 * times + phase) + 0.1 * np.random.default_rng(seed).standard_normal(len(times))
        for seed, phase in enumerate((0, 1))
    ]
    assert find_near_duplicates([fingerprint(hum) for hum in hums]) == []


def test_few_clips_are_no_near_duplicates():
    assert find_near_duplicates([]) == []
    assert find_near_duplicates([fingerprint(voice(0))]) == []
    assert find_near_duplicates([fingerprint(voice(0)), fingerprint(voice(1, 0.1))]) == []


EMOTIONS = ("anger", "fear", "joy", "neutral")


def test_balanced_sentences_tell_nothing():
    leakage = measure_leakage([s for s in "uvw" for _ in EMOTIONS * 5], EMOTIONS * 15)
    assert leakage.told == pytest.approx(0, abs=1e-9) and not leakage.gives_away
    assert leakage.share is not None and leakage.share <= 0
    assert leakage.single_emotion == {}


def test_sentences_of_one_emotion_give_it_away():
    sentences = [f"{emotion} {number}" for emotion in EMOTIONS for number in range(5) for _ in range(4)]
    emotions = [emotion for emotion in EMOTIONS for _ in range(20)]
    leakage = measure_leakage(sentences, emotions)
    assert leakage.told == pytest.approx(1) and leakage.share == pytest.approx(1)
    assert leakage.gives_away
    assert leakage.single_emotion["joy 3"] == ("joy", 4) and len(leakage.single_emotion) == 20
    assert leakage.expected_single < 1


def test_few_clips_of_a_sentence_do_not_look_like_leakage():
    rng = np.random.default_rng(1)
    emotions = rng.choice(EMOTIONS, 300).tolist()
    pairs = measure_leakage([str(number // 2) for number in range(300)], emotions)
    # In pairs, half of the emotion's entropy is told by chance, and about a quarter of the pairs agree.
    assert pairs.told > 0.4 and not pairs.gives_away
    assert pairs.share is not None and abs(pairs.share) < 0.2
    assert pairs.expected_single == pytest.approx(len(pairs.single_emotion), rel=0.4)
    once = measure_leakage([str(number) for number in range(300)], emotions)
    assert once.told == pytest.approx(1) and once.share is None and not once.gives_away


def test_leakage_is_of_each_corpus(tmp_path):
    rows = rows_of("ab", takes=4, corpus="fair") + rows_of("cd", takes=4, corpus="unfair")
    for number, row in enumerate(rows):
        row["audio"]["bytes"] = encode(voice(number))
        row["sentence_id"] = str(number % 2) if row["corpus"] == "fair" else ""
        row["text"] = f"It is  {row['emotion'].title()}." if row["corpus"] == "unfair" else ""
    found = inspect_tables([write(tmp_path / "t.parquet", rows)])
    assert {name: of.gives_away for name, of in found.leakage.items()} == {"fair": False, "unfair": True}
    assert found.leakage["unfair"].column == "text"
    assert found.leakage["unfair"].single_emotion["it is joy."] == ("Joy", 8)


def test_missing_cells_and_enrollment(tmp_path):
    rows = [row for row in rows_of(takes=3) if (row["speaker_id"], row["emotion"]) != ("mine/b", "joy")]
    found = inspect_tables([write(tmp_path / "t.parquet", rows)])
    assert found.missing_cells == {"mine/b": ["Joy"]}
    expected = {"TU+LU": 8, "TU+LO": 3, "TU+LD": 3, "TO+LU": 8, "TO+LO": 2, "TO+LD": 3}
    assert found.shots["mine/a"] == expected | {"TE+LU": 6, "TE+LO": 3, "TE+LD": 2}
    assert found.reachable("TU+LD", 2) == 2 and found.reachable("TU+LD", 3) == 1


def test_tables_of_paths(tmp_path):
    (tmp_path / "data").mkdir()
    names = [row["audio"]["path"] for row in rows_of()]
    for seed, name in enumerate(names):
        (tmp_path / "data" / name).write_bytes(encode(voice(seed)))
    lines = [f"{name},{name.split('_')[1]},00{name[0]}" for name in names]
    (tmp_path / "data" / "t.csv").write_text("\n".join(["audio,emotion,speaker_id", *lines, "lost.wav,joy,00a\n"]))
    found = inspect_tables([tmp_path])
    assert list(found.counts["t"]) == ["00a", "00b"]
    assert list(found.findings["unusable"]) == ["t.csv row 13 (lost.wav)"]
    assert "No such file" in found.findings["unusable"]["t.csv row 13 (lost.wav)"]


def test_workers_change_nothing(tmp_path):
    table = write(tmp_path / "t.parquet", rows_of())
    assert inspect_tables([table], workers=2).as_dict() == inspect_tables([table]).as_dict()


def test_reports(tmp_path):
    rows = rows_of("abcdefghijkl", takes=1, sentence_id="1")
    for row in rows[:11]:
        row["audio"]["bytes"] = encode(np.zeros(RATE))
    found = inspect_tables([write(tmp_path / "t.parquet", rows)])
    whole, brief = report_text(found), report_text(found, brief=True)
    assert "silent: 11" in whole and "silent: 11" in brief
    assert "row 11 " in whole.split("## Clips")[1].split("## Copies")[0]
    assert "and 1 more (all with --output)" in brief and "more (all" not in whole
    files = save_report(found, tmp_path / "out")
    assert [path.name for path in files] == [
        "report.md",
        "report.json",
        "counts.png",
        "durations.png",
        "enrollment.png",
    ]
    assert all(path.stat().st_size for path in files)
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["counts"]["mine"]["mine/a"] == {"Anger": 1, "Joy": 1, "Neutral": 1}
    assert numbers["max_shots"]["mine/l"]["TU+LU"] == 2


def test_nothing_to_inspect(tmp_path):
    rows = [{**row, "emotion": ""} for row in rows_of("a", takes=1)]
    with pytest.raises(ValueError, match="no row has audio, emotion and speaker_id"):
        inspect_tables([write(tmp_path / "t.parquet", rows)])
    with pytest.raises(ValueError, match="lacks the columns .'emotion'"):
        inspect_tables([write(tmp_path / "u.parquet", [{"audio": b"x", "speaker_id": "a"}])])


def test_real_speech(shared, tmp_path):
    table = pyarrow.parquet.read_table(shared / "data" / "ravdess" / "test.parquet")
    rows = table.slice(0, 60).to_pylist()
    waveform = decode_audio(rows[20]["audio"]["bytes"])
    copy = encode(0.7 * waveform[2000:], "MP3")
    rows.append({**rows[20], "audio": {"bytes": copy, "path": "copy.mp3"}, "emotion": "joy"})
    found = inspect_tables([write(tmp_path / "t.parquet", rows)])
    (copies,) = found.copies
    assert numbers_of(clip.name for clip in copies.clips) == [21, 61]
    assert not found.leakage["ravdess"].gives_away
    assert set(found.findings["silent"]) == set(found.findings["unusable"]) == set()
    assert min(found.shots["ravdess/17"].values()) >= 3


def test_the_duration_is_of_what_is_decoded():
    piped = bytearray(encode(voice(1, 2.0), "FLAC"))
    # A program that writes into a pipe does not come back to fill in the number of samples, which has 36 bits.
    piped[21] &= 0xF0
    piped[22:26] = bytes(4)
    check = check_clip(bytes(piped))
    assert (check.refusal, check.duration, check.format) == ("", 2.0, "16000 Hz, 1 channel, FLAC PCM_16")
    unfinished = encode(voice(1, 2.0))
    check = check_clip(unfinished[:40] + bytes(4) + unfinished[44:])
    assert (check.refusal, check.duration) == ("", 2.0)
    assert "truncated" in check_clip(unfinished[:9000]).refusal
