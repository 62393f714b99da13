"""The shapes of what the API says of content: what is stored here, and what is fetched."""

from __future__ import annotations

from typing import Annotated, TypedDict


class FetchedJson(TypedDict):
    """How far a fetch is."""

    blocks: int
    size_bytes: int
    total_bytes: Annotated[int | None, "As the maker of the content says; null while that is not known."]


class EntryJson(TypedDict):
    """An entry of a directory; `size_bytes` is that of all blocks below it, as the directory's maker says."""

    name: Annotated[str, "Its name in the directory."]
    cid: Annotated[str, "Its address."]
    size_bytes: Annotated[int, "All blocks below it, in bytes."]


class PinJson(TypedDict):
    cid: Annotated[str, "The address of what is kept."]
    what: Annotated[str, "'result', 'receipt', 'added', 'pinned by hand'."]
    until: Annotated[float | None, "Null: until it is removed."]


class CidJson(TypedDict):
    cid: str


class EntriesJson(TypedDict):
    entries: Annotated[list[EntryJson], "By name."]


class PinsJson(TypedDict):
    pins: Annotated[list[PinJson], "By CID."]
