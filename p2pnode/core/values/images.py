"""Names of container images: one form for all ways to write one, and what an operator says of some.

`busybox`, `library/busybox:latest` and `docker.io/library/busybox` are one image
(https://pkg.go.dev/github.com/distribution/reference#ParseNormalizedNamed).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

DEFAULT_REGISTRY, DEFAULT_TAG = "docker.io", "latest"


class Say(enum.StrEnum):
    """The words that an operator may say of an image, besides what holds for all."""

    # The image keeps Docker's default capabilities; else it has fewer (`core.values.capabilities`).
    CAPABILITIES = "capabilities"
    # Its programs may gain privileges by setuid bits and file capabilities.
    NEW_PRIVILEGES = "new-privileges"
    # The image does not write outside of its scratch directories, so the rest need not be writable ...
    READ_ONLY_ROOT = "read-only-root"
    # ... or it does, whatever its own label says.
    WRITABLE_ROOT = "writable-root"


RULE_FORM = f"IMAGE=WORD+WORD..., IMAGE with * for any text, WORD one of {', '.join(Say)}"


@dataclass(frozen=True, slots=True)
class ImageRule:
    """An operator's rule for all images whose name has this form; without a tag, of all tags."""

    pattern: str
    says: frozenset[Say]

    @classmethod
    def parse(cls, text: str) -> ImageRule:
        """Parse `IMAGE=WORD+WORD`; raises `ValueError`."""
        pattern, _, words = text.strip().rpartition("=")
        if not pattern:
            raise ValueError(f'"{text[:80]}" is no rule; expected {RULE_FORM}')
        return cls(_named(pattern), frozenset(map(Say, words.split("+"))))

    def holds_for(self, image: str) -> bool:
        return fits_form(self.pattern, image)


def said_of(rules: Iterable[ImageRule], image: str) -> frozenset[Say]:
    """The words that all the rules together say of an image."""
    return frozenset[Say]().union(*(rule.says for rule in rules if rule.holds_for(image)))


def fits_form(form: str, image: str) -> bool:
    """Whether an image's name is of a form, with `*` for any text; without a tag, of all tags."""
    pattern, name = _named(form), normal(image)
    return any(fnmatchcase(name, pattern + end) for end in ("", ":*", "@*"))


def normal(image: str) -> str:
    """The one form of an image's name: registry, path, and tag or digest. A digest makes a tag idle."""
    name, _, digest = _named(image).partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, DEFAULT_TAG
    return f"{repository}@{digest}" if digest else f"{repository}:{tag}"


def _named(image: str) -> str:
    """With its registry: the first part is one if it has a dot, a port or a capital, or is localhost."""
    first, slash, rest = image.partition("/")
    named = first == "localhost" or first != first.lower() or any(sign in first for sign in ".:*")
    if not slash or not named:
        first, rest = DEFAULT_REGISTRY, image
    if first in (DEFAULT_REGISTRY, f"index.{DEFAULT_REGISTRY}"):
        return f"{DEFAULT_REGISTRY}/{rest if '/' in rest else 'library/' + rest}"
    return f"{first}/{rest}"
