import pytest

from emoicl.training.corpora.licenses import STRICTNESS, UNSTATED, hub_license, strictest
from emoicl.training.corpora.readers import CORPORA


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["Apache-2.0"], ["Apache-2.0"]),
        (["CC0-1.0", "Apache-2.0", "CC-BY-4.0"], ["CC-BY-4.0"]),
        (["CC-BY-NC-SA-4.0", "Apache-2.0", "CC-BY-NC-SA-4.0"], ["CC-BY-NC-SA-4.0"]),
        (["CC-BY-SA-4.0", "CC-BY-NC-ND-4.0", "ODbL-1.0"], ["CC-BY-NC-ND-4.0"]),
        (["CC-BY-NC-ND-4.0", "ESD license (research only)"], ["ESD license (research only)"]),
        (
            ["MEAD terms of use (research only)", "CC0-1.0", "ESD license (research only)"],
            ["MEAD terms of use (research only)", "ESD license (research only)"],
        ),
        (["Apache-2.0", "freely available, no license stated"], []),
        (["a license that nobody knows"], []),
        ([], []),
    ],
)
def test_the_strictest_wins(licenses, expected):
    assert strictest(licenses) == expected


@pytest.mark.parametrize("reader", CORPORA.values(), ids=CORPORA)
def test_each_corpus_has_a_license_that_is_ranked_or_states_none(reader):
    assert (reader.license in STRICTNESS) != (reader.license in UNSTATED)


def test_metadata_of_the_hub():
    assert hub_license(["CC-BY-NC-SA-4.0"], "http://there") == {"license": "cc-by-nc-sa-4.0"}
    assert hub_license(["ESD license (research only)"], "http://there") == {
        "license": "other",
        "license_name": "esd-license-research-only",
        "license_link": "http://there",
    }
    assert hub_license([]) == {}
