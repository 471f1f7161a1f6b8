"""A Go program, whose runtime interrupts its own threads by SIGURG every 10 ms: no call may fail or be lost by it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from debian_storm import in_a_storm
from debian_user import DebianUser

pytestmark = [
    pytest.mark.debian,
    pytest.mark.skipif(shutil.which("go") is None, reason="no Go compiler on the host"),
]

GO = """
package main

import ("fmt"; "os"; "os/exec"; "sync"; "sync/atomic")

func main() {
	var files, programs, errors atomic.Int64
	var group sync.WaitGroup
	stop := make(chan bool)
	for i := 0; i < 1; i++ { go func() { x := 1; for { select { case <-stop: return; default: x *= 3 } } }() }
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			for j := 0; j < 250; j++ {
				name := fmt.Sprintf("/tmp/%d-%d", i, j)
				if err := os.WriteFile(name, []byte("text"), 0644); err != nil { errors.Add(1); fmt.Println(err) }
				if got, err := os.ReadFile(name); err != nil || string(got) != "text" {
					errors.Add(1); fmt.Println(err)
				}
				if err := os.Remove(name); err != nil { errors.Add(1); fmt.Println(err) }
				files.Add(1)
				if j%40 == 0 {
					if out, err := exec.Command("echo", "x").Output(); err != nil || string(out) != "x\\n" {
						errors.Add(1); fmt.Println(err)
					}
					programs.Add(1)
				}
			}
		}(i)
	}
	group.Wait()
	close(stop)
	fmt.Printf("%d files, %d programs, %d errors\\n", files.Load(), programs.Load(), errors.Load())
}
"""


@pytest.fixture(scope="module")
def program() -> Iterator[tuple[str, str]]:
    """The options with which a container has it as /main."""
    with TemporaryDirectory(prefix="pycontain-go-") as directory:
        os.chmod(directory, 0o755)
        (Path(directory) / "main.go").write_text(GO)
        subprocess.run(
            ["go", "build", "-o", "main", "main.go"],
            cwd=directory,
            env={**os.environ, "HOME": directory, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"},
            check=True,
            timeout=240,
        )
        yield "-v", f"{directory}/main:/main:ro"


def test_go_with_its_preemption_signals(either: DebianUser, program: tuple[str, str]) -> None:
    assert either.sh("/main", *program) == "2000 files, 56 programs, 0 errors\n"


@pytest.mark.slow
def test_go_in_a_storm_of_signals(either: DebianUser, program: tuple[str, str]) -> None:
    """Of more signals: Go's runtime has a handler for every one."""
    out = in_a_storm(either, "SIGURG", ": > /ready; exec /main", *program)
    assert out == "2000 files, 56 programs, 0 errors\n"
