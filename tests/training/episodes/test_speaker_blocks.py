from emoicl.training.episodes.episodes import Episode
from emoicl.training.episodes.speaker_blocks import index_slots


def test_slots_of_known_and_other_labels_and_of_none():
    episodes = [Episode(9, [4, 5, 6, 7], "Joy", ["Awe", None, "Joy", None], []), Episode(8, [3], "Joy", ["Awe"], [])]
    where = index_slots(episodes, ["Fear", "Joy"])
    assert where["utterance_index"].tolist() == [[4, 5, 6, 7, 9], [3, 8, -1, -1, -1]]
    assert where["slots"].tolist() == [[2, 4, 1, 6], [2, 0, 0, 0]] and where["num_slots"] == 7
    assert where["named"].tolist() == [[True] * 3 + [False] * 4] * 2
