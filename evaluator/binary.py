"""What a built library asks of the system, read from the binary: macros, string games and assembly hide nothing here.

A text rule sees what a source says; the dynamic symbol table says what it calls. A kernel computes on pointers: it needs
libm, libc's memory functions and OpenMP. Whatever reaches another library, process, file, socket or the kernel itself has
no place in it. Not seen: code that a library makes for itself at run time (``mprotect`` and executable ``mmap`` are rejected).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping

from kernelwright.evaluator.screen_python import Finding
from kernelwright.evaluator.screen_rules import FLAG, REJECT

_REJECTED: Mapping[str, str] = {
    "raw_memory": """
        dlopen dlmopen dlsym dlvsym dl_iterate_phdr dladdr dladdr1 mprotect pkey_mprotect process_vm_readv process_vm_writev
        memfd_create shm_open shmat remap_file_pages _r_debug _rtld_global _rtld_global_ro _dl_find_object __libc_dlopen_mode
        __libc_dlsym getauxval environ __environ _environ program_invocation_name
    """,
    "process": """
        fork vfork clone system popen execl execle execlp execv execve execvp execvpe fexecve posix_spawn posix_spawnp
        ptrace syscall prctl unshare setns waitpid
    """,
    "network": "socket socketpair connect bind listen accept send sendto sendmsg recv recvfrom recvmsg",
    "exit": "kill tgkill killpg _exit _Exit quick_exit sigaction signal raise sigprocmask pthread_kill setitimer timer_create",
    "environment": "setenv putenv unsetenv clearenv",
    "files": """
        fopen fopen64 freopen fdopen open open64 openat creat unlink rename remove mkdir rmdir opendir readdir write pwrite read
        pread ioctl fcntl dup dup2 pipe
    """,
    "global_switch": "mallopt malloc_trim omp_set_schedule setpriority sched_setscheduler setrlimit",
}
_FLAGGED: Mapping[str, str] = {
    "threads": """
        pthread_create omp_set_num_threads omp_set_dynamic omp_set_nested omp_set_max_active_levels sched_setaffinity
        pthread_setaffinity_np
    """,
    "clock": "clock_gettime gettimeofday time clock omp_get_wtime nanosleep usleep clock_nanosleep sleep",
    "raw_memory": "mmap mmap64 munmap madvise",
    "fp_mode": "fesetround fesetenv feholdexcept feenableexcept",
}
_RULES = {name: (tier, rule) for tier, table in ((REJECT, _REJECTED), (FLAG, _FLAGGED)) for rule, names in table.items()
          for name in names.split()}  # fmt: skip
_STREAMS = re.compile(r"^_ZNSt.*(?:basic_filebuf|basic_ofstream|basic_ifstream|basic_fstream)")
_THREADS = re.compile(r"^_ZNSt6thread|^_ZNSt7jthread|^_ZSt.*async|^_ZNSt13__future_base")
_CLOCKS = re.compile(r"^_ZNSt6chrono")
_TRAP = re.compile(r"\t(?:syscall|sysenter|int\s+\$0x80|svc\s)", re.MULTILINE)
_LIBRARY = re.compile(r"cblas_|mkl_|dnnl_|openblas|_ZN2at|_ZN3c10|sgemm_|dgemm_|cublas|cudnn")


def inspect(library: str) -> list[Finding]:
    """Findings on one built library; empty where the tools to read it (``nm``, ``objdump``) are not installed."""
    found = list(_symbols(_undefined(library)))
    if _TRAP.search(_run("objdump", "-d", "--no-show-raw-insn", library)):
        found.append(Finding(REJECT, "process", 0, "the binary makes system calls by an instruction of its own"))
    return found


def _undefined(library: str) -> list[str]:
    lines = _run("nm", "-D", "--undefined-only", library).splitlines()
    return [line.split()[-1].partition("@")[0] for line in lines if line.strip()]


def _symbols(names: Iterable[str]) -> Iterator[Finding]:
    for name in names:
        tier, rule = _RULES.get(name, ("", ""))
        if _STREAMS.match(name):
            tier, rule = REJECT, "files"
        elif _THREADS.match(name):
            tier, rule = FLAG, "threads"
        elif _CLOCKS.match(name):
            tier, rule = FLAG, "clock"
        elif _LIBRARY.search(name):
            tier, rule = REJECT, "library"
        if rule:
            yield Finding(tier, rule, 0, f"the built library calls {name}")


def _run(tool: str, *arguments: str) -> str:
    path = shutil.which(tool)
    if path is None:
        return ""
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60, check=False, errors="replace")
    return done.stdout
