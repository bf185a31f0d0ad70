"""Clusters of this machine alone, for real: Ray with two nodes, Slurm with its server and a node."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faulty_server import free_port
from sweeping import environment

RAY = str(Path(sys.executable).with_name("ray"))
HAS_SLURM = os.getuid() == 0 and bool(shutil.which("slurmctld") and shutil.which("slurmd"))
SLURM = """ClusterName=test
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=15
MinJobAge=10
NodeName={host} CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def ray_cluster() -> Iterator[dict[str, str]]:
    """A Ray cluster of two nodes with a CPU each; gives the environment variables that lead to it."""
    port = free_port()
    # a token that an earlier cluster left in the home directory is asked for by servers, not sent by drivers
    variables = environment() | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    head = ["--head", f"--port={port}", "--include-dashboard=false"]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for arguments in (head, [f"--address=127.0.0.1:{port}"]):
            command = [RAY, "start", *arguments, "--num-cpus=1", "--block"]
            nodes.append(
                subprocess.Popen(
                    command, env=os.environ | variables, stdout=subprocess.DEVNULL, start_new_session=True
                )
            )
            _wait_for_nodes(port, len(nodes), os.environ | variables)
        yield variables | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
    finally:
        _end(nodes[::-1])


def _wait_for_nodes(port: int, number: int, variables: dict[str, str]) -> None:
    """Wait until that many nodes have joined."""
    code = (
        f"import ray; ray.init('127.0.0.1:{port}', log_to_driver=False, logging_level=50); "
        f"raise SystemExit(sum(node['Alive'] for node in ray.nodes()) != {number})"
    )
    deadline = time.monotonic() + 120
    while subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Slurm's server and one node of two CPUs; gives the environment variables that lead to it."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    config = folder / "slurm.conf"
    config.write_text(SLURM.format(host=platform.node(), folder=folder, ports=(free_port(), free_port())))
    variables = environment() | {"SLURM_CONF": str(config)}
    with (folder / "log").open("w") as log:
        daemons = [
            subprocess.Popen(
                command, env=os.environ | variables, stdout=log, stderr=log, start_new_session=True
            )
            for command in (["slurmctld", "-D", "-i"], ["slurmd", "-D"])
        ]
        try:
            deadline = time.monotonic() + 60
            while "idle" not in _sinfo(variables):
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.2)
            yield variables
        finally:
            _end(daemons[::-1])


def _sinfo(variables: dict[str, str]) -> str:
    done = subprocess.run(["sinfo"], env=os.environ | variables, capture_output=True, text=True)
    return done.stdout


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
