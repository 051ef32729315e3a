"""Licences of corpora: which of several is the strictest, and what the Hub calls them."""

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
        "ESD licence (research only)",
        "IEMOCAP release agreement (research only)",
        "JTES terms (research only, asked for from the owners)",
        "MEAD terms of use (research only)",
        "MSP-Podcast academic licence (research only)",
        "SAVEE terms (research only, on registration)",
    ),
)
STRICTNESS = {licence: rank for rank, licences in enumerate(_RANKS) for licence in licences}
# Corpora that may be had although their owners state no licence: nothing can be derived from them.
UNSTATED = (
    "freely available, no licence stated",
    "freely available for research, no licence stated",
    "unknown",
)
# The Hub's own identifiers of the licences that corpora come with; others are stated by name and address.
HUB_LICENCES = {
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


def strictest(licences: Sequence[str]) -> list[str]:
    """
    The licence of what is made of several corpora: the strictest of theirs.

    Args:
        licences (`Sequence[str]`): Licence of each corpus, as its reader states it.

    Returns:
        `list[str]`: The strictest, several if they are equally strict; none if there are no corpora, or if one of
            them has no licence that is known.
    """
    if not licences or any(licence not in STRICTNESS for licence in licences):
        return []
    highest = max(STRICTNESS[licence] for licence in licences)
    return [licence for licence in dict.fromkeys(licences) if STRICTNESS[licence] == highest]


def hub_licence(licences: Sequence[str], url: str = "") -> dict[str, str]:
    """
    Licences as the metadata of a card states them.

    Args:
        licences (`Sequence[str]`): What [`strictest`] returns, or the licence of one corpus.
        url (`str`, *optional*, defaults to `""`): Where the terms are written.

    Returns:
        `dict[str, str]`: `license` and, if the Hub has no identifier of it, `license_name` and `license_link`; empty
            without a licence.
    """
    if not licences:
        return {}
    identifier = HUB_LICENCES.get(licences[0], "other")
    if identifier != "other":
        return {"license": identifier}
    name = re.sub(r"[^a-z0-9.]+", "-", " ".join(licences).lower()).strip("-")
    return {"license": identifier, "license_name": name} | ({"license_link": url} if url else {})
