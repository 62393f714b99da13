"""A job file leads to the spec that it describes; the four examples of the job-type page as they stand."""

import json
import textwrap
from pathlib import Path

import pytest
import yaml

from p2pnode.core.jobfile import check, parse, render
from p2pnode.core.jobfile.problems import JobFileError
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

JOB_FILES = Path(__file__).parent / "jobfiles"
CID = "QmSYE8dVx6RTdDFFhBu51JjFG1fwwPdUJoXZ4ZNXvfoK2V"

BATCH = JobSpec(
    type=JobType.BATCH,
    name="Batch Job Example",
    namespace="default",
    priority=100,
    count=2,
    meta={"Job purpose": "Provide detailed example of the batch job", "Meta purpose": "Describe the job"},
    labels={"Some option": "Some text", "Some other option": "Some other text"},
    constraints=(Constraint(key="Operating-System", operator=Operator.EQUALS, values=("linux",)),),
    task=Task(
        name="Important Calculations",
        engine=DockerTask(
            image="alek5eyk/batchjobexample:1.1",
            entrypoint=None,
            parameters=("python", "supercalc.py", "5", "/outputs/result.txt"),
            environment={"DEFAULT_USER_NAME": "root", "API_KEY": "none"},
            working_directory="",
            meta={"Task goal": "show how to create declarative descriptions"},
        ),
        publisher=Source(type="ipfs"),
        inputs=(InputSource(source=Source(type="ipfs", params={"CID": CID}), target="/data"),),
        results=(ResultPath(name="outputs", path="/outputs"),),
        resources=Resources(cpu_millis=250, memory_bytes=10**9, disk_bytes=10**8, gpus=0),
        network=Network(type=NetworkType.HTTP, domains=("example.com", "ghcr.io")),
        timeouts=Timeouts(execution_s=None, queue_s=101, total_s=301),
    ),
)


def spec_of(text: str) -> JobSpec:
    return parse(textwrap.dedent(text), "job.yaml").spec


def task_of(extra: str, engine: str = "{Type: docker, Params: {Image: busybox}}") -> Task:
    return spec_of(
        f"Type: batch\nTasks:\n- Engine: {engine}\n{textwrap.indent(textwrap.dedent(extra), '  ')}"
    ).task


def test_the_batch_example_leads_to_exactly_this_spec() -> None:
    parsed = parse((JOB_FILES / "batch.yaml").read_bytes(), "batch.yaml")
    assert parsed.spec == BATCH
    assert parsed.warnings == ()


def test_the_service_example_is_accepted_with_its_old_names_pointed_out() -> None:
    parsed = parse((JOB_FILES / "service.yaml").read_text(), "service.yaml")
    assert parsed.spec.task.network == Network(type=NetworkType.HOST)
    assert parsed.spec.task.inputs[1].source == Source(
        type="local", params={"SourcePath": "/data/log-orchestration/state", "ReadWrite": True}
    )
    assert [str(warning).removeprefix("service.yaml:") for warning in parsed.warnings] == [
        "115:17: warning: Tasks[0].InputSources[0].Source.Type: localDirectory is called local now",
        "120:17: warning: Tasks[0].InputSources[1].Source.Type: localDirectory is called local now",
        "131:7: warning: Tasks[0].ResultPaths: "
        "service jobs do not end, so what they write there is not published",
        "157:13: warning: Tasks[0].Network.Type: Full is called Host now",
    ]


@pytest.mark.parametrize(("name", "line", "column"), [("ops", 75, 13), ("daemon", 74, 13)])
def test_templates_that_nobody_filled_in_are_one_clear_error(name: str, line: int, column: int) -> None:
    with pytest.raises(JobFileError) as refusal:
        parse((JOB_FILES / f"{name}.yaml").read_text(), f"{name}.yaml")
    (problem,) = refusal.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert "{{.query}}" in problem.message
    assert "-V" in problem.message


@pytest.mark.parametrize("name", ["ops", "daemon"])
def test_the_examples_with_templates_are_accepted_once_these_are_filled_in(name: str) -> None:
    text = (JOB_FILES / f"{name}.yaml").read_text()
    for action in ("query", "OpenSearchEndpoint", "AccessLogBucket", "AWSRegion"):
        text = text.replace("{{." + action + "}}", action.lower())
    for action in ("start-time", "end-time"):
        text = text.replace('{{or (index . "' + action + '") ""}}', "")
    spec = parse(text, f"{name}.yaml").spec
    assert spec.type == name
    assert spec.task.engine.parameters == ("--query", "query", "--start-time", "", "--end-time", "")


def test_json_leads_to_the_same_spec_as_yaml() -> None:
    tree = yaml.safe_load((JOB_FILES / "batch.yaml").read_text())
    tree["Meta"]["smile"] = "\U0001f600 \\ud83d"
    expected = parse(yaml.safe_dump(tree), "batch.yaml").spec
    for indent in (None, 2, "\t"):
        assert parse(json.dumps(tree, indent=indent), "batch.json").spec == expected


def test_keys_are_read_in_any_case_but_those_of_free_maps_keep_theirs() -> None:
    spec = spec_of("""
        TYPE: Batch
        labels: {Zone: A, zone: b}
        constraints: [{key: Zone, OPERATOR: NotIn, values: [a, 7]}]
        tasks:
        - name: x
          engine: {type: Docker, params: {image: busybox, workingdirectory: /w/}}
          inputsources: [{target: /a//b/., source: {type: URLDownload, params: {url: "http://h/x"}}}]
          timeouts: {executiontimeout: 1h30m}
    """)
    assert spec.labels == {"Zone": "A", "zone": "b"}
    assert spec.constraints == (Constraint(key="Zone", operator=Operator.NOT_IN, values=("a", "7")),)
    assert spec.task.engine == DockerTask(image="busybox", working_directory="/w")
    assert spec.task.inputs[0] == InputSource(
        source=Source(type="urldownload", params={"URL": "http://h/x"}), target="/a/b"
    )
    assert spec.task.timeouts == Timeouts(execution_s=5400)


def test_what_is_left_out_has_the_defaults_of_the_reference() -> None:
    spec = spec_of("{Type: service, Tasks: [{Engine: {Type: docker, Params: {Image: busybox}}}]}")
    assert (spec.name, spec.namespace, spec.priority, spec.count) == ("", "default", 0, 1)
    assert spec.task == Task(engine=DockerTask(image="busybox"))
    assert spec.task.name == "main"
    assert spec.task.resources == Resources(cpu_millis=500, memory_bytes=512_000_000, disk_bytes=0, gpus=0)
    assert spec.task.network == Network(type=NetworkType.NONE)


def test_null_and_empty_mean_the_default() -> None:
    task = task_of("""
        Name: null
        Publisher: {Type: "", Params: null}
        Meta:
        Network: {Type: ~}
        Resources: {CPU: "", Memory: null, GPU: ''}
    """)
    assert task == Task(engine=DockerTask(image="busybox"))


def test_a_count_of_0_is_kept() -> None:
    assert (
        spec_of("{Type: batch, Count: 0, Tasks: [{Engine: {Type: docker, Params: {Image: x}}}]}").count == 0
    )


@pytest.mark.parametrize(
    ("written", "deputies"),
    [("", 2), ("Deputies:", 2), ("Deputies: 0", 0), ("deputies: 3", 3), ('Deputies: "1"', 1)],
)
def test_a_job_has_two_deputies_unless_its_file_says_otherwise(written: str, deputies: int) -> None:
    head = f"Type: daemon\n{written}\nTasks:\n  - Engine: {{Type: docker, Params: {{Image: busybox}}}}\n"
    spec = parse(head, "job.yaml").spec
    assert spec.deputies == deputies
    check(spec)


def test_unquoted_scalars_stay_the_text_that_was_written() -> None:
    engine = task_of(
        "", "{Type: docker, Params: {Image: x, Parameters: [5, 1.10, yes, 010, null, ~, '', 'null']}}"
    ).engine
    assert engine.parameters == ("5", "1.10", "yes", "010", "", "", "", "null")


def test_amounts_may_be_numbers_or_texts() -> None:
    for amounts in (
        "{CPU: 1, Memory: 512, Disk: 1GiB, GPU: 2}",
        "{CPU: '1.0', Memory: 512b, Disk: 1 gib, GPU: '2'}",
    ):
        resources = task_of(f"Resources: {amounts}").resources
        assert resources == Resources(cpu_millis=1000, memory_bytes=512, disk_bytes=2**30, gpus=2)


def test_environment_lists_are_trimmed_at_both_sides() -> None:
    engine = task_of(
        "", "{Type: docker, Params: {Image: x, EnvironmentVariables: [A = b = c , 'D=', E=f]}}"
    ).engine
    assert engine.environment == {"A": "b = c", "D": "", "E": "f"}


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("{Type: none}", Network()),
        ("{Type: Default}", Network()),
        ("{Type: FULL}", Network(type=NetworkType.HOST)),
        ("{Type: bridge}", Network(type=NetworkType.BRIDGE)),
        (
            "{Type: http, Domains: [Example.COM, .a.io, 10.0.0.1, '2001:DB8::1', '[::1]', .a.io]}",
            Network(
                type=NetworkType.HTTP, domains=("example.com", ".a.io", "10.0.0.1", "2001:db8::1", "::1")
            ),
        ),
        (
            "{Type: Host, Ports: [{Name: web, Static: 8080, HostNetwork: 0.0.0.0}, {Name: any}]}",
            Network(
                type=NetworkType.HOST,
                ports=(Port(name="web", static=8080, host_network="0.0.0.0"), Port(name="any")),
            ),
        ),
    ],
)
def test_networks_in_any_case(written: str, network: Network) -> None:
    assert task_of(f"Network: {written}").network == network


def test_timeouts_of_0_are_none_but_the_queue_keeps_its_own() -> None:
    timeouts = task_of("Timeouts: {ExecutionTimeout: 0, QueueTimeout: 0, TotalTimeout: 0}").timeouts
    assert timeouts == Timeouts(execution_s=None, queue_s=0, total_s=None)
    assert (
        task_of("Timeouts: {ExecutionTimeout: 10, QueueTimeout: 20, TotalTimeout: 30s}").timeouts.total_s
        == 30
    )


@pytest.mark.parametrize(
    ("written", "source"),
    [
        (f"{{Type: ipfs, Params: {{CID: {CID}}}}}", Source(type="ipfs", params={"CID": CID})),
        (f"{{Type: ipfs, Params: {{CID: {CID}/a/b/}}}}", Source(type="ipfs", params={"CID": f"{CID}/a/b"})),
        (
            "{Type: S3, Params: {Bucket: b, Key: k*, Filter: 'a.*', Region: r, Endpoint: 'https://e', "
            "VersionID: v, ChecksumSHA256: c, Partition: {Type: Substring, StartIndex: 1, EndIndex: 3}}}",
            Source(
                type="s3",
                params={"Bucket": "b", "Key": "k*", "Filter": "a.*", "Region": "r", "Endpoint": "https://e"}
                | {"VersionID": "v", "ChecksumSHA256": "c"}
                | {"Partition": {"Type": "substring", "StartIndex": 1, "EndIndex": 3}},
            ),
        ),
        (
            "{Type: localDirectory, Params: {SourcePath: /a/, ReadWrite: 'true', CreateAs: nocreate}}",
            Source(type="local", params={"SourcePath": "/a", "ReadWrite": True, "CreateAs": "noCreate"}),
        ),
        (
            "{Type: inline, Params: {URL: 'data:text/plain;base64,aGk='}}",
            Source(type="inline", params={"URL": "data:text/plain;base64,aGk="}),
        ),
    ],
)
def test_every_type_of_input_source(written: str, source: Source) -> None:
    assert task_of(f"InputSources: [{{Target: /in, Source: {written}}}]").inputs[0].source == source


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("{Type: none}", Source(type="none")),
        ("{Type: noop}", Source(type="none")),
        ("{Type: Local}", Source(type="local")),
        (
            "{Type: s3, Params: {Bucket: b, Key: 'r/{jobID}', Region: eu, Encoding: GZIP}}",
            Source(type="s3", params={"Bucket": "b", "Key": "r/{jobID}", "Region": "eu", "Encoding": "gzip"}),
        ),
    ],
)
def test_every_type_of_publisher(written: str, source: Source) -> None:
    assert task_of(f"Publisher: {written}").publisher == source


def test_a_wasm_module_is_an_input_or_lies_below_one() -> None:
    inputs = f"InputSources: [{{Target: /app, Source: {{Type: ipfs, Params: {{CID: {CID}}}}}}}]"
    engine = "{Type: wasm, Params: {EntryModule: /app/main.wasm, ImportModules: [/app], Parameters: [x]}}"
    assert task_of(inputs, engine).engine == WasmTask(
        entry_module="/app/main.wasm", entrypoint="_start", parameters=("x",), import_modules=("/app",)
    )


def test_modules_that_are_sources_as_in_old_files_become_inputs() -> None:
    source = f"{{Source: {{Type: ipfs, Params: {{CID: {CID}}}}}}}"
    parsed = parse(
        f"{{Type: batch, Tasks: [{{Engine: {{Type: wasm, Params: {{EntryModule: {source}, "
        f"ImportModules: [{source}]}}}}}}]}}",
        "old.yaml",
    )
    assert parsed.spec.task.engine == WasmTask(
        entry_module="/wasm/entry.wasm", import_modules=("/wasm/imports/module_0.wasm",)
    )
    targets = ["/wasm/entry.wasm", "/wasm/imports/module_0.wasm"]
    assert [one.target for one in parsed.spec.task.inputs] == targets
    assert len(parsed.warnings) == 2


def test_render_shows_every_field_with_readable_units() -> None:
    rendered = render(BATCH)
    assert list(rendered) == [
        "Name",
        "Type",
        "Namespace",
        "Priority",
        "Count",
        "Deputies",
        "Meta",
        "Labels",
        "Constraints",
        "Tasks",
    ]
    assert rendered["Tasks"][0]["Resources"] == {"CPU": "250m", "Memory": "1GB", "Disk": "100MB", "GPU": "0"}
    assert rendered["Tasks"][0]["Timeouts"] == {"QueueTimeout": 101, "TotalTimeout": 301}
    assert rendered["Tasks"][0]["Engine"]["Params"]["EnvironmentVariables"] == [
        "DEFAULT_USER_NAME=root",
        "API_KEY=none",
    ]


def test_a_spec_from_elsewhere_is_held_to_the_rules_of_files() -> None:
    check(BATCH)
    climbing = InputSource(source=Source(type="ipfs", params={"CID": CID}), target="/a/../../etc")
    unknown = InputSource(source=Source(type="ipfs", params={"CID": CID, "x": 1}), target="/a")
    bare = Task(engine=DockerTask(image="x"))
    for wrong in (
        Task(engine=DockerTask(image="x"), inputs=(climbing,)),
        Task(engine=DockerTask(image="x"), inputs=(unknown,)),
        Task(engine=DockerTask(image="x"), results=(ResultPath(name="../x", path="/x"),)),
        Task(engine=DockerTask(image="x"), resources=Resources(cpu_millis=-5)),
        Task(engine=DockerTask(image="x"), network=Network(domains=("a.io",))),
        Task(engine=DockerTask(image="x"), resources=Resources(memory_bytes=0)),
    ):
        with pytest.raises(JobFileError):
            check(JobSpec(type=JobType.BATCH, task=wrong))
    with pytest.raises(JobFileError):
        check(JobSpec(type=JobType.DAEMON, count=5, task=bare))
