"""The guest's agent, run as a process of the host: the same program, the same tables."""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontain.errors import MachineError
from pycontain.vm import agent, launcher
from pycontain.vm.table import BUFFER, Reply, Table


class Agent:
    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.sock, self.pid = sock, pid

    def carry_out(self, table: Table) -> Reply:
        self.sock.sendall(table.finish(7))
        head = self._read(16)
        tag, length = struct.unpack("<QQ", head)
        assert tag == 7
        return table.parse(head + self._read(length - 16))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            assert piece
            data += piece
        return data


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Agent]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard <= agent.CONTROL:
        pytest.skip("descriptor numbers end too early here")
    ours, theirs = socket.socketpair()
    table = Table(agent.START)
    table.call("dup3", 5, agent.CONTROL, 0)
    table.operation(agent.END, 0, 0)
    program = tmp_path / "agent"
    program.write_bytes(agent.elf(table.layout()))
    program.chmod(0o755)
    null = os.open(os.devnull, os.O_RDWR)
    pid = launcher.spawn([str(program)], {0: null, 1: null, 2: null, 5: theirs.fileno()})
    os.close(null)
    theirs.close()
    ours.settimeout(10)
    yield Agent(ours, pid)
    ours.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_results_and_data_come_back(running: Agent, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second file")
    table = Table()
    table.keep(table.call("getpid"))
    for name in ("a", "b", "nothing"):
        opened = table.call("open", table.text(os.fsencode(tmp_path / name)), 0)
        table.keep(opened)
        table.collect("read", opened, BUFFER, 100, most=100)
    reply = running.carry_out(table)
    assert reply.results[0] == running.pid
    assert reply.results[5] == -2
    assert reply.pieces == [b"first", b"second file", b""]


def test_pipes_processes_and_branches(running: Agent) -> None:
    table = Table()
    pair = table.space(8)
    table.call("pipe2", pair, 0)
    ends = []
    for offset in (0, 4):
        row = table.operation(-99, 0, 0)
        table.operation(agent.COPY32, row, pair.plus(offset))
        ends.append(row)
    child = table.call("fork")
    in_child = table.jump(agent.IF_ZERO, child.plus(0))
    parent = table.jump(agent.IF_ZERO, table.constant(0))
    table.land(in_child)
    table.call("write", ends[1], table.data(b"hello from a child"), 18)
    table.call("exit", 42)
    table.land(parent)
    table.collect("read", ends[0], BUFFER, 50, most=50)
    status = table.fixed(4)
    table.call("wait4", child, status, 0, 0)
    reply = running.carry_out(table)
    assert reply.pieces == [b"hello from a child"]
    assert os.waitstatus_to_exitcode(struct.unpack("<i", reply.fixed[0][:4])[0]) == 42


def test_loops(running: Agent) -> None:
    table = Table()
    counter, one = table.constant(-1000), table.constant(1)
    again = table.here()
    table.operation(agent.ADD, counter, one)
    table.operation(agent.IF_NEGATIVE, counter, again)
    table.keep(counter)
    assert running.carry_out(table).results == [0]


def test_a_reply_that_lies_about_its_length_is_refused() -> None:
    table = Table()
    table.keep(table.call("getpid"))
    table.collect("read", 0, BUFFER, 10, most=10)
    table.finish(1)
    with pytest.raises(MachineError, match="answer"):
        table.parse(struct.pack("<QQqq", 1, 40, 5, 900) + b"short")
    with pytest.raises(MachineError, match="answer"):
        table.parse(b"")


def test_strings_with_nul_and_tables_that_are_too_long() -> None:
    table = Table()
    with pytest.raises(MachineError, match="NUL"):
        table.text(b"a\0b")
    table.space(agent.ARENA_SIZE)
    with pytest.raises(MachineError, match="too long"):
        table.finish(1)
