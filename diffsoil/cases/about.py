"""What a case says of itself for those who find its results: who made them, and their licence."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from diffsoil.cases.kinds import Strict


def _address(text: str) -> str:
    if not text.startswith(("https://", "http://")) or " " in text:
        raise ValueError(f"{text!r} is no address: it begins with https://")
    return text


def _mail(text: str) -> str:
    name, _, place = text.partition("@")
    if not name or "." not in place or " " in text:
        raise ValueError(f"{text!r} is no address of mail")
    return text


Words = Annotated[str, Field(min_length=1)]


class About(Strict):
    """Who made the results, and what others may do with them: attributes of files of results.

    The names are those of the Attribute Convention for Data Discovery (ACDD 1.3). What is left
    out is not in the files.
    """

    summary: Words | None = None
    """A paragraph on the results; one sentence on the case if left out."""
    keywords: list[Words] = Field(default=["soil organic carbon", "soil", "simulation"])
    """Words to find the results by."""
    creator_name: Words | None = None
    """Who made the results."""
    creator_email: Annotated[str, AfterValidator(_mail)] | None = None
    """Address of mail of the creator."""
    creator_url: Annotated[str, AfterValidator(_address)] | None = None
    """Address of the creator, such as an ORCID."""
    institution: Words | None = None
    """Where the results were made."""
    project: Words | None = None
    """Project that the results belong to."""
    license: Words | None = None
    """What others may do with the results: an SPDX name such as CC-BY-4.0, or an address."""
    acknowledgement: Words | None = None
    """Who paid, and who helped."""
    references: Words | None = None
    """Publications that describe the data or the methods."""
