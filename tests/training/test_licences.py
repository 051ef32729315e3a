import pytest

from emoicl.training.corpora.readers import CORPORA
from emoicl.training.licences import STRICTNESS, UNSTATED, hub_licence, strictest


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["Apache-2.0"], ["Apache-2.0"]),
        (["CC0-1.0", "Apache-2.0", "CC-BY-4.0"], ["CC-BY-4.0"]),
        (["CC-BY-NC-SA-4.0", "Apache-2.0", "CC-BY-NC-SA-4.0"], ["CC-BY-NC-SA-4.0"]),
        (["CC-BY-SA-4.0", "CC-BY-NC-ND-4.0", "ODbL-1.0"], ["CC-BY-NC-ND-4.0"]),
        (["CC-BY-NC-ND-4.0", "ESD licence (research only)"], ["ESD licence (research only)"]),
        (
            ["MEAD terms of use (research only)", "CC0-1.0", "ESD licence (research only)"],
            ["MEAD terms of use (research only)", "ESD licence (research only)"],
        ),
        (["Apache-2.0", "freely available, no licence stated"], []),
        (["a licence that nobody knows"], []),
        ([], []),
    ],
)
def test_the_strictest_wins(licences, expected):
    assert strictest(licences) == expected


@pytest.mark.parametrize("reader", CORPORA.values(), ids=CORPORA)
def test_each_corpus_has_a_licence_that_is_ranked_or_states_none(reader):
    assert (reader.licence in STRICTNESS) != (reader.licence in UNSTATED)


def test_metadata_of_the_hub():
    assert hub_licence(["CC-BY-NC-SA-4.0"], "http://there") == {"license": "cc-by-nc-sa-4.0"}
    assert hub_licence(["ESD licence (research only)"], "http://there") == {
        "license": "other",
        "license_name": "esd-licence-research-only",
        "license_link": "http://there",
    }
    assert hub_licence([]) == {}
