"""The two lanes of the tests: the quick one is all but what this page names (`scripts/test --quick`).

A test of the quick lane may start no process: one that does fails, in either lane, until it is named here.
"""

from __future__ import annotations

import re

# Matched from the start of `test_FILE.py::test_NAME[PARAMETERS]`.
NOT_QUICK = (
    # Engines, nodes and programs, as processes.
    r"test_engine_(bridge|cgroups|docker|http_attacks|http_pause|podman|stop|wasm)",
    r"test_(binary|devnet|gpus_docker|ipfs_kubo|nodes_|two_versions|data_s3\.py|data_publishers)",
    r"test_(api_schemathesis|cli_exec|cli_terminal|cli_top_terminal|descriptors|guides|layers|version)\.py",
    r"test_cli\.py::test_(a_closed_pipe|ctrl_c_while|help_imports|help_takes|submit_imports)",
    r"test_cli_completion\.py",
    r"test_api_tls\.py",
    r"test_python_client_guide\.py",
    r"test_bench_others\.py",
    r"test_doctor\.py::test_a_broken_file",
    r"test_cli_forms\.py::test_the_doctor",
    r"test_bench_summary\.py::test_wrong_words",
    r"test_data_url\.py::test_over_https",
    r"test_docker_host\.py::test_the_real_engine",
    r"test_engine_http_proxy\.py::test_a_tunnel_carries_tls",
    r"test_gpus\.py::test_the_driver_is_a_program",
    r"test_ipfs_result_store\.py::test_(a_result_gets_to_a_daemon|nothing_is_lost_while)",
    r"test_identity\.py::test_the_module_does_not_import",
    r"test_(notice_targets|probe|relays_kubo|websocket_others)\.py",
    r"test_mutations\.py::test_tests_and_networks",
    r"test_private\.py::test_another_user",
    # Real networks, on this machine's clock.
    r"test_network_(discovery|first_contact|gossip|host|links|multistream|private|relays|strangers|unused|websocket)",
    r"test_ipfs_bitswap",
    # Long tests: bombs, chance in quantity, the table of 2,600 rows, and simulated networks by the dozen.
    r"test_(cli_get_hostile|explore|fairness|fuzz|placement_figures|shell_simulation|who_may_say_what)\.py",
    r"test_simulation\.py::test_every_job",
    r"test_neighbours\.py::test_a_network_that_joins\w*\[200\]",
)
STARTS_A_PROCESS = frozenset({"os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"})


def is_quick(node_id: str) -> bool:
    """Tell of a test by its id, or by a part of one."""
    return not any(re.match(pattern, node_id.removeprefix("tests/")) for pattern in NOT_QUICK)
