import errno
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch

from emoicl.training.data import feature_shards
from emoicl.training.data.feature_shards import FeatureShards


WIDTH = 5


def key(number):
    return bytes([number] * 32)


def frames(number):
    return torch.randn(number + 2, WIDTH, generator=torch.Generator().manual_seed(number)).half()


def entries(*numbers):
    return {key(number): frames(number) for number in numbers}


def written(folder, *numbers):
    FeatureShards(folder, WIDTH).write(entries(*numbers))
    [path] = folder.glob("*.safetensors")
    return path


def read(folder, *numbers):
    """Whether each entry is whole; what is, is right."""
    shards = FeatureShards(folder, WIDTH)
    found = []
    for number in numbers:
        if key(number) in shards.absent([key(number)]):
            found.append(False)
        else:
            [of_key] = shards.read([key(number)])
            assert of_key is None or torch.equal(of_key, frames(number))
            found.append(of_key is not None)
    return found


def test_entries_of_several_shards(tmp_path):
    shards = FeatureShards(tmp_path, WIDTH)
    shards.write(entries(0, 1))
    other = FeatureShards(tmp_path, WIDTH)
    assert other.absent([key(0), key(2)]) == {key(2)}
    shards.write(entries(2))
    # Written by another since.
    assert other.absent([key(0), key(2), key(3)]) == {key(3)}
    for number, found in zip((2, 0, 1), other.read([key(2), key(0), key(1)]), strict=True):
        assert found is not None and torch.equal(found, frames(number))


def test_the_newest_of_two_entries_counts(tmp_path):
    shards = FeatureShards(tmp_path, WIDTH)
    shards.write({key(0): frames(3)})
    shards.write({key(0): frames(0)})
    assert read(tmp_path, 0) == [True]


def test_another_process_maps_the_files_itself(tmp_path):
    written(tmp_path, *range(30))
    shards = FeatureShards(tmp_path, WIDTH)
    assert not shards.absent([key(0)])
    copy = pickle.loads(pickle.dumps(shards))
    assert len(pickle.dumps(shards)) < 500 and not copy.absent([key(29)])


def fill(folder, numbers):
    with FeatureShards(folder, WIDTH).writer() as writer:
        for number in numbers:
            writer.add(key(number), frames(number))


def test_processes_that_write_at_once_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_shards, "SHARD_BYTES", 100)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill, args=(tmp_path, range(start, 40, 3))) for start in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    assert all(read(tmp_path, *range(40)))


def test_a_shard_is_written_when_it_is_large_or_old(tmp_path, monkeypatch):
    def num_shards(folder):
        fill(folder, range(8))
        assert all(read(folder, *range(8)))
        return len(list(folder.glob("*.safetensors")))

    assert num_shards(tmp_path / "one") == 1
    monkeypatch.setattr(feature_shards, "SHARD_SECONDS", 0.0)
    assert num_shards(tmp_path / "old") == 8
    monkeypatch.setattr(feature_shards, "SHARD_SECONDS", 60.0)
    monkeypatch.setattr(feature_shards, "SHARD_BYTES", 10 * WIDTH * 2)
    assert num_shards(tmp_path / "large") == 3


def test_what_was_taken_before_an_error_is_written(tmp_path):
    with pytest.raises(KeyboardInterrupt), FeatureShards(tmp_path, WIDTH).writer() as writer:
        writer.add(key(0), frames(0))
        raise KeyboardInterrupt
    assert read(tmp_path, 0, 1) == [True, False]


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_never_read(seed, tmp_path):
    """Wherever it is: in the header, the frames, or what says whose they are."""
    path = written(tmp_path, *range(6))
    content = bytearray(path.read_bytes())
    place = int(np.random.default_rng(seed).integers(8 * len(content)))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    assert read(tmp_path, *range(6)).count(False) <= 1 or not path.exists()


def test_each_entry_that_is_damaged_is_noticed(tmp_path):
    path = written(tmp_path, *range(6))
    content = path.read_bytes()
    first, last = (frames(number).numpy().tobytes() for number in (0, 5))
    path.write_bytes(content.replace(last, last[:9] + bytes(len(last) - 9)).replace(first, first[::-1]))
    assert read(tmp_path, *range(6)) == [False, *4 * [True], False]


def test_swapped_contents_are_noticed(tmp_path):
    """Frames under another clip's key, both of them whole."""
    FeatureShards(tmp_path, WIDTH).write({key(0): frames(3), key(1): frames(3) + 1})
    [path] = tmp_path.glob("*.safetensors")
    one, other = ((frames(3) + number).numpy().tobytes() for number in (0, 1))
    path.write_bytes(path.read_bytes().replace(one, b"").replace(other, other + one))
    shards = FeatureShards(tmp_path, WIDTH)
    assert not shards.absent([key(0), key(1)])
    assert shards.read([key(0), key(1)]) == [None, None]
    assert shards.absent([key(0)]) == {key(0)}


@pytest.mark.parametrize("size", [0, 5, 100, -1, -200])
def test_a_shard_that_is_cut_is_named_and_deleted(size, tmp_path, caplog):
    path = written(tmp_path, *range(6))
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    with caplog.at_level("WARNING", logger="emoicl"):
        assert not any(read(tmp_path, *range(6)))
    assert f"{path} is damaged" in caplog.text
    assert not path.exists()


def test_a_shard_that_is_cut_while_it_is_mapped(tmp_path, caplog):
    path = written(tmp_path, *range(6))
    shards = FeatureShards(tmp_path, WIDTH)
    assert not shards.absent([key(1)])
    os.truncate(path, 4096 if path.stat().st_size > 4096 else 10)
    assert shards.read([key(1), key(2)]) == [None, None]
    assert f"{path} is damaged: the features of its 6 clips" in caplog.text
    assert shards.absent([key(0)]) == {key(0)}


def test_frames_of_another_width_are_no_shard(tmp_path):
    written(tmp_path, 0)
    assert FeatureShards(tmp_path, WIDTH + 1).absent([key(0)]) == {key(0)}


def test_a_full_disk_leaves_nothing_half(tmp_path, monkeypatch):
    def fill_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fill(tmp_path, [0])
    with monkeypatch.context() as patch, pytest.raises(OSError, match="The disk is full: .*safetensors could not"):
        patch.setattr(feature_shards, "save_file", fill_disk)
        fill(tmp_path, [1])
    assert len(list(tmp_path.iterdir())) == 1
    assert read(tmp_path, 0, 1) == [True, False]
