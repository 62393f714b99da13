"""The core of one node, made of its settings and policy."""

from __future__ import annotations

from p2pnode.config.policy import PolicyFile
from p2pnode.config.settings import NodeConfig
from p2pnode.core import jobfile
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.node import Core
from p2pnode.core.records.roster import Roster
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire.spec import JobSpec
from p2pnode.data.inputs import Inputs
from p2pnode.identity import Identity


def make_core(
    me: Identity, config: NodeConfig, policy: PolicyFile, inputs: Inputs, roster: Roster | None
) -> Core:
    """`roster` is of the private network that the node is in."""
    core = Core(
        me.peer_id,
        _why_not_spec,
        me,
        config.preempt,
        declines=lambda spec: inputs.lacks_variables(spec.task),
        deputy=config.deputy,
        trust=Trust(config.operators, config.trusted, policy.places),
    )
    core.worker.stop_grace_s_max = config.max_stop_grace
    core.worker.policy = policy.policy
    if roster is not None:
        core.worker.role_of = roster.role_of
    return core


def _why_not_spec(spec: JobSpec) -> str | None:
    try:
        jobfile.check(spec)
    except JobFileError as exc:
        return f"the job is not valid: {exc.problems[0].message}"
    return None
