"""Several hosts on one machine: Linux namespaces joined by a switch, each with its own address and files.

A host is a process namespace with its own network, mounts and name. Killing its first process ends the host like a
power failure, and removes its interfaces. Every process gets a parent-death signal when this process ends, so nothing
is left behind however the tests end. The root namespace is not touched.

    with Switch() as switch, switch.host("one") as one, switch.host("two") as two:
        one.run("ping", "-c1", two.address)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

_INIT = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
_TOOLS = ("ip", "tc", "unshare", "nsenter", "setpriv", "mount")
PREFIX = "10.77"


def missing() -> str | None:
    """Why there can be no such hosts here; None when there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root"
    lacking = [tool for tool in _TOOLS if not shutil.which(tool)]
    if lacking:
        return f"needs {', '.join(lacking)} (packages iproute2 and util-linux)"
    done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else f"namespaces are not allowed here: {done.stderr.decode().strip()}"


def require_hosts() -> None:
    if why := missing():
        pytest.skip(f"hosts in namespaces: {why}")


class _Space:
    """A process with namespaces of its own, and commands run inside of it."""

    def __init__(self, *kinds: str, setup: str = "true") -> None:
        command = f"set -e; {setup}; exec {sys.executable} -I -S -c '{_INIT}'"
        separate = [f"--{kind}" for kind in kinds]
        self._parent = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "unshare", "--fork", "--kill-child=KILL", *separate, "sh", "-c", command],
            stderr=subprocess.DEVNULL,  # util-linux complains there when the child is killed
        )
        self._kinds = [kind for kind in separate if kind != "--mount-proc"]
        children = Path(f"/proc/{self._parent.pid}/task/{self._parent.pid}/children")
        self.pid = _wait_for(lambda: children.read_text().split(), "a namespace")[0]
        _wait_for(lambda: b"signal.pause" in Path(f"/proc/{self.pid}/cmdline").read_bytes(), "a namespace's set-up")

    def command(self, *words: str | Path) -> list[str]:
        return ["nsenter", f"--target={self.pid}", *self._kinds, "--wdns=/", *map(str, words)]

    def run(self, *words: str | Path, timeout: float = 60) -> str:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"
        return done.stdout

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.pid), signal.SIGKILL)
        self._parent.wait(20)


class Host:
    """One machine, with `eth0` on the first switch, `eth1` on the second, and so on."""

    def __init__(self, name: str, switches: Sequence[Switch], hidden: Sequence[Path]) -> None:
        self.name = name
        hide = "; ".join(f"mkdir -p '{path}' && mount -t tmpfs -o mode=700 tmpfs '{path}'" for path in hidden) or "true"
        setup = f"ip link set lo up; hostname {name}; mount --make-rprivate /; {hide}"
        self._space = _Space("net", "mount", "uts", "pid", "mount-proc", setup=setup)
        self.addresses = [switch.plug(self._space, f"eth{index}") for index, switch in enumerate(switches)]
        self.address = self.addresses[0]

    def command(self, *words: str | Path, cwd: Path | None = None) -> list[str]:
        inside = ["env", f"--chdir={cwd}", *words] if cwd else words
        return self._space.command(*inside)

    def run(self, *words: str | Path, timeout: float = 60) -> str:
        """The output of a command that must succeed."""
        return self._space.run(*words, timeout=timeout)

    def start(self, *words: str | Path, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=os.environ | env
            )

    def set_link(self, state: str, interface: str = "eth0") -> None:
        """`up` or `down`: plug the cable in, or pull it."""
        self.run("ip", "link", "set", interface, state)

    def limit(self, megabits: float | None, interface: str = "eth0") -> None:
        """Limit what the host sends to `megabits` per second; None lifts the limit."""
        subprocess.run(self.command("tc", "qdisc", "del", "dev", interface, "root"), capture_output=True, check=False)
        if megabits is not None:
            # A burst of 1 ms at the rate, as tc-tbf(8) advises, and what a common switch would buffer.
            burst = max(16_000, int(megabits * 1e6 / 8 / 1000))
            self.run(
                "tc", "qdisc", "add", "dev", interface, "root", "tbf", "rate", f"{megabits}mbit",
                "burst", str(burst), "latency", "50ms",
            )  # fmt: skip

    def received(self, interface: str = "eth0") -> int:
        """Bytes that came in so far."""
        lines = self.run("cat", "/proc/net/dev").splitlines()  # /sys would show those of the machine
        return next(int(line.split()[1]) for line in lines if line.split()[0] == f"{interface}:")

    def kill(self) -> None:
        """Cut the power: no process closes its connections, and the kernel refuses none."""
        for index in range(len(self.addresses)):
            with contextlib.suppress(AssertionError):
                self.set_link("down", f"eth{index}")
        self._space.end()


class Switch:
    """A bridge in a namespace of its own; number n joins the hosts as 10.77.n.0/24."""

    def __init__(self, number: int = 0) -> None:
        self._number = number
        self._ports = 0

    def __enter__(self) -> Switch:
        self._space = _Space("net", setup="ip link set lo up; ip link add br0 type bridge; ip link set br0 up")
        return self

    def __exit__(self, *_: object) -> None:
        self._space.end()

    def plug(self, space: _Space, interface: str) -> str:
        """Put a cable between the switch and `interface`, made in `space`; returns its address."""
        self._ports += 1
        address, port = f"{PREFIX}.{self._number}.{self._ports}", f"port{self._ports}"
        self._space.run("ip", "link", "add", port, "type", "veth", "peer", "name", interface, "netns", space.pid)
        self._space.run("ip", "link", "set", port, "master", "br0", "up")
        space.run("ip", "address", "add", f"{address}/24", "dev", interface)
        space.run("ip", "link", "set", interface, "up")
        return address

    @contextlib.contextmanager
    def host(self, name: str, *others: Switch, hidden: Sequence[Path] = ()) -> Iterator[Host]:
        """A host on this switch and `others`; it sees empty folders in place of `hidden`."""
        host = Host(name, (self, *others), hidden)
        try:
            yield host
        finally:
            host.kill()


def _wait_for(ready: object, what: str, seconds: float = 20) -> list[str]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := ready():  # type: ignore[operator]
                return found  # type: ignore[no-any-return]
        time.sleep(0.01)
    raise AssertionError(f"{what} was not ready within {seconds:.0f} s")
