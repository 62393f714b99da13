"""The shapes of job files in the API's JSON."""

from __future__ import annotations

from typing import Annotated, TypedDict

from .shapes import Json


class SpecJson(TypedDict):
    """A version of a job's file."""

    spec: Annotated[Json, "In the form of a job file."]
    text: Annotated[str, "The same as a job file in YAML."]


class ValidatedJson(TypedDict):
    """A job file that can be submitted."""

    spec: Annotated[Json, "The job as it was understood, with its defaults."]
    warnings: Annotated[list[str], "Each with its line and field."]
