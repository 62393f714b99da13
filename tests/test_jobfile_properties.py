"""Any spec survives being written down, and any text leads to a spec or to problems."""

import json
import time
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.core.jobfile import check, parse, render, yamltree
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.values.units import AMOUNT_MAX, DURATION_S_MAX
from p2pnode.core.wire import codec
from p2pnode.core.wire.spec import (
    Constraint,
    DockerTask,
    InputSource,
    JobSpec,
    JobType,
    Network,
    NetworkType,
    Operator,
    Port,
    Resources,
    ResultPath,
    Source,
    Task,
    Timeouts,
    WasmTask,
)

BATCH = (Path(__file__).parent / "jobfiles" / "batch.yaml").read_bytes()
CID = "QmSYE8dVx6RTdDFFhBu51JjFG1fwwPdUJoXZ4ZNXvfoK2V"

# All text but what no program takes in an argument, and what is no text.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
WORD = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
PATH = st.lists(
    st.text("abc. -é", min_size=1, max_size=4).filter(lambda part: part not in (".", "..")), min_size=1
).map(lambda parts: "/" + "/".join(parts))
MAP = st.dictionaries(NAME, TEXT, max_size=3)
WORDS = st.lists(TEXT, max_size=4).map(tuple)
ENVIRONMENT = st.dictionaries(WORD, TEXT.map(str.strip), max_size=3)
SOURCES = st.one_of(
    st.just(Source(type="ipfs", params={"CID": CID})),
    st.builds(
        lambda path, rw: Source(type="local", params={"SourcePath": path, "ReadWrite": rw}),
        PATH,
        st.booleans(),
    ),
    st.builds(lambda word: Source(type="urldownload", params={"URL": f"https://{word}/"}), WORD),
    st.builds(lambda text: Source(type="inline", params={"URL": f"data:,{text}"}), TEXT),
    st.builds(
        lambda key, end: Source(
            type="s3",
            params={
                "Bucket": "b",
                "Key": key,
                "Partition": {"Type": "substring", "StartIndex": 0, "EndIndex": end},
            },
        ),
        TEXT,
        st.integers(1, 99),
    ),
)
PUBLISHERS = st.sampled_from(
    [
        None,
        Source(type="ipfs"),
        Source(type="local"),
        Source(type="none"),
        Source(type="s3", params={"Bucket": "b", "Key": "k", "Encoding": "gzip"}),
    ]
)
PORTS = st.lists(
    st.builds(
        lambda name, host: Port(name=name, host_network=host), WORD, st.sampled_from(["", "::1", "10.0.0.1"])
    ),
    unique_by=lambda port: port.name,
    max_size=3,
).map(tuple)
NETWORKS = st.one_of(
    st.just(Network()),
    st.builds(lambda ports: Network(type=NetworkType.HOST, ports=ports), PORTS),
    st.builds(
        lambda ports: Network(
            type=NetworkType.BRIDGE, ports=(*ports, Port(name="Last", static=8080, target=80))
        ),
        PORTS,
    ),
    st.just(Network(type=NetworkType.HTTP, domains=(".a.io", "b.io", "::1", "10.0.0.1"))),
)
TIMEOUTS = st.builds(
    lambda execution_s, queue_s: Timeouts(execution_s=execution_s, queue_s=queue_s),
    st.none() | st.integers(1, DURATION_S_MAX),
    st.none() | st.integers(0, DURATION_S_MAX),
)
RESOURCES = st.builds(
    lambda cpu, memory, disk, gpus: Resources(
        cpu_millis=cpu, memory_bytes=memory, disk_bytes=disk, gpus=gpus
    ),
    st.integers(1, AMOUNT_MAX),
    st.integers(1, AMOUNT_MAX),
    st.integers(0, AMOUNT_MAX),
    st.integers(0, 1024),
)


@st.composite
def constraints(draw: st.DrawFn) -> Constraint:
    operator = draw(st.sampled_from(list(Operator)))
    key = draw(st.sampled_from(["zone", "favour_zone", "a b", "k8s.io/x"]))
    match operator:
        case Operator.EXISTS | Operator.NOT_EXISTS:
            values: tuple[str, ...] = ()
        case Operator.GREATER | Operator.LESS:
            values = (str(draw(st.integers(-(2**63), 2**63 - 1))),)
        case Operator.IN | Operator.NOT_IN:
            values = tuple(draw(st.lists(TEXT, min_size=1, max_size=3)))
        case _:
            values = (draw(TEXT),)
    return Constraint(key=key, operator=operator, values=values)


@st.composite
def engines(draw: st.DrawFn, targets: list[str]) -> DockerTask | WasmTask:
    if targets and draw(st.booleans()):
        return WasmTask(
            entry_module=draw(st.sampled_from(targets)),
            entrypoint=draw(WORD),
            parameters=draw(WORDS),
            import_modules=tuple(f"{target}/m" for target in targets[1:]),
            environment=draw(ENVIRONMENT),
        )
    return DockerTask(
        image=draw(st.sampled_from(["busybox", "ghcr.io:443/a/b:1.0", f"a@sha256:{'0' * 64}"])),
        entrypoint=draw(st.none() | WORDS),
        parameters=draw(WORDS),
        environment=draw(ENVIRONMENT),
        working_directory=draw(st.sampled_from(["", "/"]) | PATH),
        meta=draw(MAP),
    )


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    """Any spec that a job file can lead to."""
    kind = draw(st.sampled_from(list(JobType)))
    paths = draw(st.lists(PATH, unique=True, max_size=5))
    targets = paths[:3]
    # Below an input that is one file, which is read-only, there is no place for a result.
    results = [path for path in paths[3:] if not any(path.startswith(f"{target}/") for target in targets)]
    task = Task(
        engine=draw(engines(targets)),
        name=draw(NAME.filter(bool)),
        publisher=draw(PUBLISHERS),
        environment=draw(ENVIRONMENT),
        meta=draw(MAP),
        inputs=tuple(
            InputSource(source=draw(SOURCES), target=target, alias=target[1:]) for target in targets
        ),
        results=tuple(ResultPath(name=f"r{index}", path=path) for index, path in enumerate(results)),
        resources=draw(RESOURCES),
        network=draw(NETWORKS),
        timeouts=draw(TIMEOUTS),
    )
    return JobSpec(
        type=kind,
        task=task,
        name=draw(NAME),
        namespace=draw(NAME.filter(bool)),
        priority=draw(st.integers(-AMOUNT_MAX, AMOUNT_MAX)),
        count=draw(st.integers(0, 10_000)) if kind in (JobType.BATCH, JobType.SERVICE) else 1,
        constraints=tuple(draw(st.lists(constraints(), max_size=3))),
        meta=draw(MAP),
        labels=draw(MAP),
    )


@settings(deadline=None)
@given(specs())
def test_any_spec_survives_being_written_as_yaml_and_json(spec: JobSpec) -> None:
    check(spec)
    for text in (
        yamltree.dump(render(spec)),
        yaml.safe_dump(render(spec)),
        json.dumps(render(spec)),
        json.dumps(render(spec), indent=2),
    ):
        assert parse(text, "job").spec == spec


@settings(deadline=None)
@given(specs())
def test_any_spec_survives_its_canonical_bytes(spec: JobSpec) -> None:
    data = codec.encode(spec)
    assert codec.decode_untrusted(data, JobSpec) == spec
    assert codec.encode(parse(json.dumps(render(spec)), "job").spec) == data


def parse_in_time(data: bytes) -> None:
    begin = time.process_time()
    try:
        spec = parse(data, "any").spec
        problems = ()
    except JobFileError as refusal:
        spec, problems = None, refusal.problems
    assert time.process_time() - begin < 1
    assert (spec is None) == bool(problems)
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in problems)
    if spec is not None:
        assert parse(json.dumps(render(spec)), "again").spec == spec


@settings(deadline=None)
@given(st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_a_spec_or_problems(data: bytes) -> None:
    parse_in_time(data)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(BATCH)), st.integers(0, 12), st.binary(max_size=6)), max_size=4))
def test_any_mutation_of_a_job_file_is_a_spec_or_problems(edits: list[tuple[int, int, bytes]]) -> None:
    data = BATCH
    for place, cut, inserted in edits:
        data = data[:place] + inserted + data[place + cut :]
    parse_in_time(data)


TOKENS = [
    "Type",
    "Tasks",
    "Engine",
    "Params",
    "Network",
    "docker",
    "Labels",
    ": ",
    "\n",
    "\n  ",
    "- ",
    "{",
    "}",
    "[",
]
TOKENS += [
    "]",
    ", ",
    "'",
    '"',
    "|\n",
    "1",
    "batch",
    "~",
    "# ",
    "---",
    "&a",
    "*a",
    "!x ",
    "? ",
    "\\u",
    "{{",
    "}}",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=60))
def test_any_jumble_of_yaml_is_a_spec_or_problems(tokens: list[str]) -> None:
    parse_in_time("".join(tokens).encode())
