"""The parser of the hot verbs: docker's grammar."""

from __future__ import annotations

import pytest

from pycontain.cli.container_options import container_options
from pycontain.cli.exec import TABLE as EXEC
from pycontain.cli.options import UsageError, parse
from pycontain.cli.run import TABLE as RUN


@pytest.mark.parametrize(
    ("words", "values", "rest"),
    [
        (["img"], {}, ["img"]),
        (["-it", "img"], {"interactive": True, "tty": True}, ["img"]),
        (["--rm", "img", "--rm"], {"rm": True}, ["img", "--rm"]),
        (["--rm=false", "img"], {"rm": False}, ["img"]),
        (["-e", "A=1", "-eB=2", "--env=C=3", "--env", "D", "i"], {"env": ["A=1", "B=2", "C=3", "D"]}, ["i"]),
        (["-itw/x", "i"], {"interactive": True, "tty": True, "workdir": "/x"}, ["i"]),
        (["-w=/x", "i"], {"workdir": "/x"}, ["i"]),
        (["-t=false", "i"], {"tty": False}, ["i"]),
        (["--name", "--odd", "i"], {"name": "--odd"}, ["i"]),
        (["--", "i", "-x"], {}, ["i", "-x"]),
        (["--entrypoint=", "i"], {"entrypoint": ""}, ["i"]),
        (["-h", "box", "i"], {"hostname": "box"}, ["i"]),
        (["--privileged=false", "i"], {"privileged": False}, ["i"]),
        (["--init=false", "i"], {}, ["i"]),
    ],
)
def test_grammar(words: list[str], values: dict[str, object], rest: list[str]) -> None:
    assert parse(RUN, words) == (values, rest)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "IMAGE is missing"),
        (["--name"], "needs a value"),
        (["--nmae", "x", "i"], "did you mean --name"),
        (["-Z", "i"], "unknown option -Z"),
        (["--rm=maybe", "i"], "neither true nor false"),
        (["-P", "i"], "-P is not there yet"),
        (["--init", "i"], "--init is not there yet"),
        (["-c1", "i"], "-c is not there yet"),
        (["--security-opt=x", "i"], "--security-opt is not there yet"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")) as caught:
        parse(RUN, words)
    assert caught.value.exit_code == 125


def test_exec_needs_a_command() -> None:
    with pytest.raises(UsageError, match="COMMAND is missing"):
        parse(EXEC, ["box"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pull=sometimes", "i"], "not one of always"),
        (["--network=bridge", "i"], "only --network host"),
        (["--net", "none", "i"], "none is not there yet"),
        (["--restart=always", "i"], "--restart always is not there yet"),
        (["--stop-timeout=x", "i"], "not a number"),
    ],
)
def test_values_that_make_no_sense(words: list[str], message: str) -> None:
    values, rest = parse(RUN, words)
    with pytest.raises(UsageError, match=message):
        container_options("run", values, rest)


def test_every_option_of_docker_run_is_known() -> None:
    """101 of them (docker 28); what is not there yet is an error that says so, never an unknown option."""
    docker = """add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns
    cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus
    cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps
    device-write-iops dns dns-option dns-search domainname entrypoint env env-file expose gpus group-add health-cmd
    health-interval health-retries health-start-interval health-start-period health-timeout hostname init
    interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation label label-file link link-local-ip log-driver
    log-opt mac-address memory memory-reservation memory-swap memory-swappiness mount name network network-alias
    no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all pull quiet
    read-only restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs
    tty ulimit use-api-socket user userns uts volume volume-driver volumes-from workdir"""
    assert set(docker.split()) <= {option.name for option in RUN.options}
