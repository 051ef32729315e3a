"""Licenses of corpora: which of several is the strictest, and what the Hub calls them."""

import re
from collections.abc import Sequence


# From the freest to the strictest. Terms that allow research alone, each by its own agreement, are equally strict.
_RANKS = (
    ("CC0-1.0",),
    ("Apache-2.0",),
    ("CC-BY-4.0",),
    ("ODbL-1.0",),
    ("CC-BY-SA-4.0",),
    ("CC-BY-NC-4.0",),
    ("CC-BY-NC-SA-4.0",),
    ("CC-BY-NC-ND-4.0",),
    (
        "ESD license (research only)",
        "IEMOCAP release agreement (research only)",
        "JTES terms (research only, asked for from the owners)",
        "MEAD terms of use (research only)",
        "MSP-Podcast academic license (research only)",
        "SAVEE terms (research only, on registration)",
    ),
)
STRICTNESS = {license: rank for rank, licenses in enumerate(_RANKS) for license in licenses}
# Corpora that may be had although their owners state no license: nothing can be derived from them.
UNSTATED = (
    "freely available, no license stated",
    "freely available for research, no license stated",
    "unknown",
)
# The Hub's own identifiers of the licenses that corpora come with; others are stated by name and address.
HUB_LICENSES = {
    "Apache-2.0": "apache-2.0",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC-BY-NC-ND-4.0": "cc-by-nc-nd-4.0",
    "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "ODbL-1.0": "odbl",
    "unknown": "unknown",
}


def strictest(licenses: Sequence[str]) -> list[str]:
    """
    The license of what is made of several corpora: the strictest of theirs.

    Args:
        licenses (`Sequence[str]`): License of each corpus, as its reader states it.

    Returns:
        `list[str]`: The strictest, several if they are equally strict; none if there are no corpora, or if one of
            them has no license that is known.
    """
    if not licenses or any(license not in STRICTNESS for license in licenses):
        return []
    highest = max(STRICTNESS[license] for license in licenses)
    return [license for license in dict.fromkeys(licenses) if STRICTNESS[license] == highest]


def hub_license(licenses: Sequence[str], url: str = "") -> dict[str, str]:
    """
    Licenses as the metadata of a card states them.

    Args:
        licenses (`Sequence[str]`): What [`strictest`] returns, or the license of one corpus.
        url (`str`, *optional*, defaults to `""`): Where the terms are written.

    Returns:
        `dict[str, str]`: `license` and, if the Hub has no identifier of it, `license_name` and `license_link`; empty
            without a license.
    """
    if not licenses:
        return {}
    identifier = HUB_LICENSES.get(licenses[0], "other")
    if identifier != "other":
        return {"license": identifier}
    name = re.sub(r"[^a-z0-9.]+", "-", " ".join(licenses).lower()).strip("-")
    return {"license": identifier, "license_name": name} | ({"license_link": url} if url else {})
