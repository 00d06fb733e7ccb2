"""A system-call filter: the calls no kernel needs end with EPERM. BPF by hand, for x86-64 and 64-bit Arm.

It does not protect against bugs in the calls that stay open, and cannot look at what a pointer points to (so a
connection by path name cannot be told from another: ``connect`` is denied as a whole).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass

from kernelwright.evaluator.runner.linux import prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X32 = 0x40000000
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_NAMESPACE_FLAGS = 0x7E020080
"""CLONE_NEW* of clone."""
_THREAD = 0x00010000
_AF_UNIX = 1
_PERSONALITIES = (0, 0x0040000, 0xFFFFFFFF)
"""Plain, without address randomisation (sanitizers ask for it), and the question which one it is."""

_BOTH = {
    "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "process_mrelease": 448,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "mount_setattr": 442, "quotactl_fd": 443, "open_tree_attr": 467, "pidfd_send_signal": 424,
}  # fmt: skip
"""Calls with one number on every architecture."""
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242), "bind": (49, 200),
    "listen": (50, 201),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "mknod": (133, None), "mknodat": (259, 33), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "personality": (135, 92),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "unshare": (272, 97), "setns": (308, 268), "reboot": (169, 142), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "syslog": (103, 116), "vhangup": (153, 58), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "move_pages": (279, 239), "migrate_pages": (256, 238),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "clone": (56, 220),
    "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "prlimit64": (302, 261), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    **{name: (number, number) for name, number in _BOTH.items()},
}  # fmt: skip

_ALWAYS = (
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise", "process_mrelease",
    "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "open_tree_attr", "mknod", "mknodat", "name_to_handle_at", "open_by_handle_at", "fanotify_init",
    "quotactl", "quotactl_fd", "swapon", "swapoff", "acct", "bpf", "perf_event_open", "userfaultfd", "add_key",
    "request_key", "keyctl", "unshare", "setns", "reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module",
    "delete_module", "syslog", "vhangup", "iopl", "ioperm", "modify_ldt", "settimeofday", "clock_settime", "clock_adjtime",
    "adjtimex", "sethostname", "setdomainname", "move_pages", "migrate_pages", "io_uring_setup", "io_uring_enter",
    "io_uring_register",
)  # fmt: skip
_LISTENING = ("accept", "accept4", "listen")
"""CUDA does not start without them (seen with driver 580 on an H100)."""
_PROCESSES = ("execve", "execveat", "fork", "vfork")
_HIDDEN_MEMORY = ("memfd_create", "shmget", "msgget", "semget")
"""Memory that no limit on the address space sees."""
_SIGNALS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_PRIORITIES = ("prlimit64", "sched_setaffinity")
"""Calls whose first argument is a process: only 0 or the runner's own may be named."""
_ALL_SIGNALS = ("tkill", "pidfd_send_signal")
_ALL_PRIORITIES = ("setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam", "sched_setattr")


@dataclass(frozen=True)
class Filter:
    """What a runner's filter leaves open."""

    processes: bool
    """May start processes (Triton runs ptxas and a C compiler)."""
    unix_sockets: bool
    """May make Unix sockets and listen on them (CUDA's driver does), though not connect any."""
    own_signals: bool
    """Only its own process may be signalled: where neither a pid namespace nor Landlock keeps it from others."""
    own_priorities: bool
    """Only its own process may be reprioritised: where no pid namespace hides the others."""


def supported() -> str:
    """Why there can be no filter here; empty when there can be."""
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        return f"no table of system calls for {machine}"
    try:
        prctl(_PR_SET_SECCOMP, _MODE_FILTER)
    except OSError as error:  # a null program: EFAULT says that filters exist
        return "" if error.errno == errno.EFAULT else f"no seccomp filters in this kernel ({error.strerror})"
    return ""


def install(chosen: Filter) -> None:
    """Filter this thread's system calls and those of its future threads and children, for good.

    Needs ``no_new_privs``. Call it while the process has one thread.
    """
    program = b"".join(compose(chosen, os.uname().machine, os.getpid()))
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    described = Program(len(program) // 8, ctypes.addressof(buffer))
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(described))


def compose(chosen: Filter, machine: str, pid: int) -> list[bytes]:
    """The filter's instructions."""
    table = {name: numbers[_COLUMN[machine]] for name, numbers in _NUMBERS.items()}
    program = [_step(_LOAD, _ARCH_AT), _step(_EQUAL, _ARCHITECTURES[machine], 1, 0), _step(_RETURN, _KILL)]
    program.append(_step(_LOAD, _NUMBER_AT))
    if machine == "x86_64":
        program += [_step(_AT_LEAST, _X32, 0, 1), _deny(errno.EPERM)]
    # glibc takes clone when clone3, whose flags lie behind a pointer, does not exist.
    denied = {**dict.fromkeys(_ALWAYS, errno.EPERM), "clone3": errno.ENOSYS, "bind": errno.EPERM}
    denied["connect"] = errno.ECONNREFUSED if chosen.unix_sockets else errno.EPERM
    if not chosen.processes:
        denied |= dict.fromkeys((*_PROCESSES, *_HIDDEN_MEMORY), errno.EPERM)
    if chosen.own_signals:
        denied |= dict.fromkeys(_ALL_SIGNALS, errno.EPERM)
    if chosen.own_priorities:
        denied |= dict.fromkeys(_ALL_PRIORITIES, errno.EPERM)
    if chosen.unix_sockets:
        del denied["bind"]
    else:
        denied |= dict.fromkeys(("socket", *_LISTENING), errno.EPERM)
    for name, number in denied.items():
        if table[name] is not None:
            program += [_step(_EQUAL, table[name] or 0, 0, 1), _deny(number)]
    program += _clone(table["clone"] or 0, chosen.processes)
    if chosen.unix_sockets:
        program += _first_argument(table["socket"] or 0, (_AF_UNIX,))
    program += _first_argument(table["personality"] or 0, _PERSONALITIES)
    limited = (_SIGNALS if chosen.own_signals else ()) + (_PRIORITIES if chosen.own_priorities else ())
    for name in limited:
        program += _first_argument(table[name] or 0, (0, pid))
    return [*program, _step(_RETURN, _ALLOW)]


def _clone(number: int, processes: bool) -> list[bytes]:
    """No new namespaces; without ``processes`` nothing but threads."""
    body = [_step(_LOAD, _FIRST_ARGUMENT_AT), _step(_ANY_BIT, _NAMESPACE_FLAGS, 0, 1), _deny(errno.EPERM)]
    if not processes:
        body += [_step(_ANY_BIT, _THREAD, 1, 0), _deny(errno.EPERM)]
    body.append(_step(_RETURN, _ALLOW))
    return [_step(_EQUAL, number, 0, len(body)), *body]


def _first_argument(number: int, allowed: tuple[int, ...]) -> list[bytes]:
    """Deny a call whose first argument is none of ``allowed``."""
    body = [_step(_LOAD, _FIRST_ARGUMENT_AT)]
    for value in allowed:
        body += [_step(_EQUAL, value, 0, 1), _step(_RETURN, _ALLOW)]
    body.append(_deny(errno.EPERM))
    return [_step(_EQUAL, number, 0, len(body)), *body]


def _step(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, when_true, when_false, value)


def _deny(number: int) -> bytes:
    return _step(_RETURN, _ERRNO | number)
