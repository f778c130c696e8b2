"""A filter of system calls for cages: what no solution of a task needs of the kernel is refused.

A list of refusals, not of permissions: candidates are Python programs and their libraries, whose
calls nobody can list, while the doors that escapes went through are known. Without privileges and
without user namespaces most of these would fail anyway; the filter holds where a kernel is wrong.

Most calls fail with EPERM. `clone3` fails with ENOSYS, because a filter cannot read its flags; the C
library then uses `clone`, whose flags are looked at. Calls of another architecture end the process.
"""

import json
import platform
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from codojo.errors import SandboxError

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""As the kernel names them (`AUDIT_ARCH_*`)."""

# Numbers on x86_64 and on aarch64; None where there is no such call.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # The shape of the file system, and files by handle.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    # Namespaces.
    "unshare": (272, 97),
    "setns": (308, 268),
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "perf_event_open": (298, 241),
    "ioprio_set": (251, 30),
    "sched_setattr": (314, 274),
    # Keyrings and file notifications reach from one cage into the next.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    # Large parts of the kernel that no solution needs.
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    "lookup_dcookie": (212, 18),
    # Memory that no limit counts.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "vmsplice": (278, 75),
    "io_setup": (206, 0),
    "landlock_create_ruleset": (444, 444),
    # The machine.
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "syslog": (103, 116),
    "vhangup": (153, 58),
}
NEWEST = 450
"""The last call that was looked at. Later ones, numbered alike on all machines, do not exist inside:
a C library that knows them has to do without them on older kernels anyway."""
CLONE, CLONE3, SOCKET, IOCTL = (56, 220), (435, 435), (41, 198), (16, 29)
MMAP, PRCTL, SETSOCKOPT = (9, 222), (157, 167), (54, 208)
NAMESPACE_FLAGS = 0x7E020000
"""Every `CLONE_NEW*` flag that `clone` takes."""
FAMILIES = (1,)
"""Unix. A closed TCP connection keeps its port for a minute, in a namespace that warm cages share."""
TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: typing into a terminal."""
MAP_SHARED, MAP_ANONYMOUS = 0x01, 0x20
"""Together: memory that stays while one page of it is mapped, and counts only where it is mapped."""
SEND_BUFFER = (7, 32)
"""SO_SNDBUF and SO_SNDBUFFORCE: what waits in a socket counts nowhere, and as set it is megabytes."""
SET_DEATH_SIGNAL = (1,)
"""The option of `prctl` by which a process would outlive whoever guards it."""

# Classic BPF.
LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE = 0, 4
FIRST_ARGUMENT, SECOND_ARGUMENT, THIRD_ARGUMENT, FOURTH_ARGUMENT = 16, 24, 32, 40
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


class _Instruction(NamedTuple):
    code: int
    value: int
    if_true: int = 0
    if_false: int = 0

    def packed(self) -> bytes:
        return struct.pack("<HBBI", self.code, self.if_true, self.if_false, self.value)


@cache
def program(machine: str = "") -> bytes:
    """The filter as the kernel and bwrap take it: eight bytes for each instruction.

    Raises:
        SandboxError: For a machine whose system calls it does not know.
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES)
        raise SandboxError(
            f"the filter of system calls knows {known}, not {machine}; run codojo on one of these, "
            "choose the docker backend, or pass --unsafe-no-sandbox"
        )
    column = list(ARCHITECTURES).index(machine)
    refused = [numbers[column] for numbers in REFUSED.values()]
    filtered = [
        *_prologue(machine),
        *_refuse([number for number in refused if number is not None], EPERM),
        *_refuse([CLONE3[column]], ENOSYS),
        *_on(CLONE[column], FIRST_ARGUMENT, [_Instruction(JUMP_SET, NAMESPACE_FLAGS, 0, 1)]),
        *_on(IOCTL[column], SECOND_ARGUMENT, _any_of(TERMINAL_INPUT)),
        *_on(MMAP[column], FOURTH_ARGUMENT, _all_of((MAP_SHARED, MAP_ANONYMOUS))),
        *_on(SETSOCKOPT[column], THIRD_ARGUMENT, _any_of(SEND_BUFFER)),
        *_on(PRCTL[column], FIRST_ARGUMENT, _any_of(SET_DEATH_SIGNAL)),
        *_only(SOCKET[column], FAMILIES),
        _Instruction(RETURN, ALLOW),
    ]
    return b"".join(instruction.packed() for instruction in filtered)


@cache
def container_profile() -> str:
    """The same filter as Docker and Podman take it: JSON, by names, for the engine's own machine.

    libseccomp ends whoever calls by another architecture, x32 included. Arguments are compared as 64
    bits there, of which the kernel reads 32 here, so every comparison masks or bounds the rest.
    """
    bits = [1 << bit for bit in range(32) if NAMESPACE_FLAGS >> bit & 1]
    families = [family for family in range(max(FAMILIES)) if family not in FAMILIES]
    rules = [_rule(list(REFUSED), EPERM), _rule(["clone3"], ENOSYS)]
    rules += [_rule(["clone"], EPERM, _where(0, bit, bit)) for bit in bits]
    rules += [_rule(["ioctl"], EPERM, _where(1, 0xFFFFFFFF, what)) for what in TERMINAL_INPUT]
    both = MAP_SHARED | MAP_ANONYMOUS
    rules += [_rule(["mmap"], EPERM, _where(3, both, both))]
    rules += [_rule(["setsockopt"], EPERM, _where(2, 0xFFFFFFFF, what)) for what in SEND_BUFFER]
    rules += [_rule(["prctl"], EPERM, _where(0, 0xFFFFFFFF, what)) for what in SET_DEATH_SIGNAL]
    rules += [_rule(["socket"], EAFNOSUPPORT, _where(0, 0xFFFFFFFF, f)) for f in families]
    beyond = {"index": 0, "value": max(FAMILIES), "valueTwo": 0, "op": "SCMP_CMP_GT"}
    rules += [_rule(["socket"], EAFNOSUPPORT, beyond)]
    return json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})


def _rule(names: Sequence[str], errno: int, *where: dict[str, Any]) -> dict[str, Any]:
    refused = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    return {**refused, "args": list(where)}


def _where(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def number(name: str) -> int | None:
    """The number of a refused call on this machine; None where it has none."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        return None
    return REFUSED[name][list(ARCHITECTURES).index(machine)]


def _prologue(machine: str) -> Iterator[_Instruction]:
    yield _Instruction(LOAD, ARCHITECTURE)
    yield _Instruction(JUMP_EQUAL, ARCHITECTURES[machine], 1, 0)
    yield _Instruction(RETURN, KILL)
    yield _Instruction(LOAD, NUMBER)
    # The calls of x32, an architecture of its own in all but name, come after all others.
    yield _Instruction(JUMP_GREATER_EQUAL, NEWEST + 1, 0, 1)
    yield _Instruction(RETURN, ERRNO | ENOSYS)


def _refuse(numbers: Sequence[int], errno: int) -> Iterator[_Instruction]:
    """Leaves the number of the call loaded, as everything below does."""
    for at, number in enumerate(numbers):
        yield _Instruction(
            JUMP_EQUAL, number, len(numbers) - 1 - at, 0 if at + 1 < len(numbers) else 1
        )
    yield _Instruction(RETURN, ERRNO | errno)


def _any_of(values: Sequence[int]) -> list[_Instruction]:
    """Falls through where the loaded value is one of these, else jumps over the next instruction."""
    last = len(values) - 1
    return [
        _Instruction(JUMP_EQUAL, value, last - at, 0 if at < last else 1)
        for at, value in enumerate(values)
    ]


def _all_of(flags: Sequence[int]) -> list[_Instruction]:
    """Falls through where the loaded value has all these bits, else jumps over the next instruction."""
    return [_Instruction(JUMP_SET, flag, 0, len(flags) - at) for at, flag in enumerate(flags)]


def _on(number: int, argument: int, test: Sequence[_Instruction]) -> Iterator[_Instruction]:
    """Refuse one call where a test of the low half of an argument falls through."""
    yield _Instruction(JUMP_EQUAL, number, 0, len(test) + 3)
    yield _Instruction(LOAD, argument)
    yield from test
    yield _Instruction(RETURN, ERRNO | EPERM)
    yield _Instruction(LOAD, NUMBER)


def _only(number: int, values: Sequence[int]) -> Iterator[_Instruction]:
    """Refuse one call unless its first argument is one of these."""
    yield _Instruction(JUMP_EQUAL, number, 0, len(values) + 2)
    yield _Instruction(LOAD, FIRST_ARGUMENT)
    for at, value in enumerate(values):
        yield _Instruction(JUMP_EQUAL, value, len(values) - at, 0)
    yield _Instruction(RETURN, ERRNO | EAFNOSUPPORT)
