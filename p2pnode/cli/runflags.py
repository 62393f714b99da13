"""A job file made of flags: what `docker run` and `wasm run` submit.

Each flag is read here as far as it has a form of its own (`-i ipfs://CID:/target`); whether its
value may stand in a job is left to the rules for job files, whose problems are told by flag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

INPUT_TARGET = "/inputs"
# Where a job file has what a flag says; the more special before the more general.
_FLAG_OF_PATH = {
    "Name": "--name",
    "Type": "--type",
    "Count": "--count",
    "Priority": "--priority",
    "Constraints": "--constraint",
    "Labels": "--label",
    "Tasks[0].Engine.Params.Image": "IMAGE",
    "Tasks[0].Engine.Params.EntryModule": "MODULE",
    "Tasks[0].Env": "--env",
    "Tasks[0].InputSources": "--input",
    "Tasks[0].ResultPaths": "--output",
    "Tasks[0].Publisher": "--publisher",
    "Tasks[0].Resources.CPU": "--cpu",
    "Tasks[0].Resources.Memory": "--memory",
    "Tasks[0].Resources.Disk": "--disk",
    "Tasks[0].Resources.GPU": "--gpu",
    "Tasks[0].Network.Domains": "--domain",
    "Tasks[0].Network": "--network",
    "Tasks[0].Timeouts.QueueTimeout": "--queue-timeout",
    "Tasks[0].Timeouts": "--timeout",
}
_ENDS_IN_TARGET = re.compile(r"(.+?)(?::(/(?!/)[^:]*))?", re.DOTALL)
_OPTION = re.compile(r",(?=(?:src|dst|opt)=)")
_SET = re.compile(r"([^\s!=<>(),]+)\s+(in|notin)\s+\((.*)\)", re.DOTALL)
_COMPARED = re.compile(r"([^\s!=<>(),]+)\s*(==|!=|=|<|>|\s(?:gt|lt)\s)\s*(.*)", re.DOTALL)
_KEY = re.compile(r"(!?)\s*([^\s!=<>(),]+)")
_OPERATORS = {"<": "lt", ">": "gt"}


def flag_of(path: str) -> str:
    """The flag, or argument, that a field of the job file came from."""
    return next((flag for start, flag in _FLAG_OF_PATH.items() if path.startswith(start)), path)


def job(engine: Mapping[str, Any], modules: list[dict[str, Any]], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The job file, which has nothing but what was given.

    `modules` are inputs that the engine needs; `flags` are click's parameters (`cli.runs`) by name.
    """
    domains = list(flags["domains"])
    task = _given(
        Engine=dict(engine),
        Env=dict(flags["env"]),
        Publisher=flags["publisher"],
        InputSources=[*modules, *flags["inputs"]],
        ResultPaths=list(flags["outputs"]),
        Resources=_given(CPU=flags["cpu"], Memory=flags["memory"], Disk=flags["disk"], GPU=flags["gpu"]),
        # Domains are of use in one type of network only.
        Network=_given(Type=flags["network"] or ("HTTP" if domains else None), Domains=domains),
        Timeouts=_given(TotalTimeout=flags["timeout"], QueueTimeout=flags["queue_timeout"]),
    )
    return _given(
        Name=flags["name"],
        Type=flags["kind"],
        Count=flags["count"],
        Priority=flags["priority"],
        Constraints=list(flags["constraints"]),
        Labels=dict(flags["labels"]),
        Tasks=[task],
    )


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def constraint(text: str) -> dict[str, Any]:
    """`zone=north`, `zone in (a, b)`, `cores > 8`, `gpu`, `!gpu`, ... as a job file has it.

    Raises `ValueError` saying what is allowed.
    """
    text = text.strip()
    if found := _SET.fullmatch(text):
        return {"Key": found[1], "Operator": found[2], "Values": [one.strip() for one in found[3].split(",")]}
    if found := _COMPARED.fullmatch(text):
        operator = found[2].strip()
        return {"Key": found[1], "Operator": _OPERATORS.get(operator, operator), "Values": [found[3]]}
    if found := _KEY.fullmatch(text):
        return {"Key": found[2], "Operator": found[1] or "exists"}
    allowed = "KEY=VALUE, KEY!=VALUE, KEY>N, KEY<N, KEY in (A, B), KEY notin (A, B), KEY, !KEY"
    raise ValueError(f"{text[:80]!r} is no constraint; allowed: {allowed}")


def input_source(text: str) -> dict[str, Any]:
    """`URI`, `URI:/target` or `src=URI,dst=/target,opt=NAME=VALUE` as one of a job file's InputSources.

    Raises `ValueError` saying what is allowed.
    """
    uri, target = "", INPUT_TARGET
    options: dict[str, str] = {}
    if text.startswith(("src=", "dst=", "opt=")):
        for part in _OPTION.split(text):
            name, _, value = part.partition("=")
            if name == "opt":
                options |= [pair(value)]
            elif name == "src":
                uri = value
            else:
                target = value
    elif found := _ENDS_IN_TARGET.fullmatch(text):
        uri, target = found[1], found[2] or INPUT_TARGET
    scheme, _, rest = uri.partition("://")
    match scheme:
        case "ipfs" if rest:
            source = _typed("ipfs", CID=rest, **options)
        case "s3" if rest:
            source = _s3(rest, options)
        case "http" | "https" if rest:
            source = _typed("urlDownload", URL=uri, **options)
        case "file" if rest:
            source = _typed("local", SourcePath=rest, **options)
        case _:
            if text == "t":
                raise ValueError(
                    "docker's -it: it begins without a terminal; p2pnode job exec -it enters what runs"
                )
            allowed = (
                "ipfs://CID[/PATH], s3://BUCKET/KEY, http://..., https://... or file:///PATH, with :/TARGET"
            )
            raise ValueError(f"{text[:80]!r} is no input; allowed: {allowed}, or src=...,dst=/TARGET")
    return {"Target": target, "Source": source}


def publisher(text: str) -> dict[str, Any]:
    """`ipfs`, `none`, `s3://BUCKET/KEY[,opt=NAME=VALUE]`, ... as a job file's Publisher."""
    uri, *parts = _OPTION.split(text)
    options = dict(pair(part.partition("=")[2]) for part in parts)
    scheme, separator, rest = uri.partition("://")
    return _s3(rest, options) if separator and scheme == "s3" else _typed(uri, **options)


def result_path(text: str) -> dict[str, str]:
    """`NAME:/PATH`; raises `ValueError`."""
    name, colon, path = text.partition(":")
    if not colon:
        raise ValueError(f"{text[:80]!r} is no result path; write it as NAME:/PATH")
    return {"Name": name, "Path": path}


def pair(text: str) -> tuple[str, str]:
    """`NAME=VALUE`; raises `ValueError`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text[:80]!r} has no value; write it as NAME=VALUE")
    return name, value


def _s3(rest: str, options: Mapping[str, str]) -> dict[str, Any]:
    bucket, _, key = rest.partition("/")
    return _typed("s3", **({"Bucket": bucket} | ({"Key": key} if key else {}) | dict(options)))


def _typed(kind: str, **params: str) -> dict[str, Any]:
    return {"Type": kind} | ({"Params": params} if params else {})
