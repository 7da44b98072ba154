"""The sandbox of a decode process: no other file, no network, no new process. The only door to seccompy and landlockpy.

Entered once, after everything is loaded and warm, and never left. Two layers that know nothing of each other: seccomp
(which system calls) and Landlock (which files, ports and processes). Where the kernel lacks one the other still holds,
and the `Confinement` says so. Child side; knows nothing of audio.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import landlockpy
import seccompy
from landlockpy import AccessFS, RestrictFlag, Ruleset, Scope
from seccompy import Action, ArgCmp, CmpOp, Filter, FilterFlag

from daemon.decode.confinement import Confinement

_PR_SET_NO_NEW_PRIVS: Final = 38

_FREE: Final = (
    # the recording, the spool file and the channel, all open before
    "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek close ftruncate fstat fadvise64 "
    "recvmsg recvfrom sendmsg shutdown getsockname getpeername poll ppoll "
    # memory
    "mmap munmap mremap mprotect madvise brk "
    # threads of this process, and their end
    "futex set_robust_list get_robust_list rseq sched_yield sched_getaffinity getcpu exit exit_group restart_syscall "
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack membarrier "
    # the clock, ourselves, chance
    "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times getrusage sysinfo uname "
    "getpid gettid getppid getuid geteuid getgid getegid getrandom"
)
"""What decoding needs, as strace shows it for every format in tests/data, and what the C library may do instead."""

_AT_EMPTY_PATH: Final = 0x1000
_CLONE_A_THREAD: Final = 0x10000 | 0x100  # CLONE_THREAD | CLONE_VM (linux/sched.h)
_FIOCLEX: Final = 0x5451
_FIONCLEX: Final = 0x5450
_PR_SET_NAME: Final = 15
_FCNTL: Final = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC (linux/fcntl.h)

_NEVER: Final = (
    # the network, and sockets of other services
    "socket socketpair connect bind listen accept accept4 "
    # other processes
    "ptrace process_vm_readv process_vm_writev process_madvise kcmp kill tkill tgkill rt_sigqueueinfo "
    "rt_tgsigqueueinfo pidfd_open pidfd_getfd pidfd_send_signal setpriority "
    # the machine, namespaces, what has its own way past a filter
    "mount umount2 move_mount open_tree fsopen fsmount fsconfig pivot_root chroot unshare setns bpf perf_event_open "
    "userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key personality "
    "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff sethostname setdomainname "
    "open_by_handle_at name_to_handle_at settimeofday clock_settime adjtimex clock_adjtime quotactl acct syslog"
)
"""What neither pydub nor the ffmpeg that it starts has any use for."""

_X32_BIT: Final = 0x40000000
_X32_OWN: Final = range(512, 548)
"""On x86_64 each call has a second number for the x32 ABI, and some have a third (arch/x86/entry/syscalls)."""

_PROGRAM_FOLDERS: Final = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
_PROGRAM_FILES: Final = ("/etc/ld.so.cache", "/dev/urandom")


def enter() -> Confinement:
    """No file can be opened, no socket made, no process started or signalled any more: each fails with EPERM.

    Threads may be. What is open stays open, and descriptors may come over the channel.
    """
    return _enter(_rules, only_decoding)


def enter_with_programs(recording_fd: int) -> Confinement:
    """Like `enter`, but programs may be started, and they and we may read the system's programs and the recording."""
    return _enter(lambda: _files_of_programs(recording_fd), all_but_the_worst)


def _enter(ruleset: Callable[[], Ruleset], syscalls: Callable[[], Filter]) -> Confinement:
    missing: list[str] = []
    max_memory_bytes, _ = resource.getrlimit(resource.RLIMIT_AS)
    max_open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    no_new_privs = ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    _load_what_the_libraries_need()
    landlock_abi = _with_landlock(ruleset, missing)
    return Confinement(
        seccomp=_with_seccomp(syscalls, missing),
        landlock_abi=landlock_abi,
        no_new_privs=no_new_privs,
        max_memory_bytes=max_memory_bytes,
        max_open_files=max_open_files,
        missing=tuple(missing),
    )


def _load_what_the_libraries_need() -> None:
    # Each looks for the C library on its first call, by running ldconfig: the first layer must not stop the second.
    with contextlib.suppress(OSError):
        seccompy.supported()
        landlockpy.abi_version()


def _with_landlock(ruleset: Callable[[], Ruleset], missing: list[str]) -> int:
    try:
        abi = landlockpy.abi_version()
        if abi:
            with ruleset() as rules:
                rules.restrict(RestrictFlag.TSYNC)  # all threads; before ABI 8 only this one, but there is no other
            return abi
        missing.append("Landlock is not active in this kernel (it needs Linux 5.13 and landlock in its lsm= list)")
    except OSError as error:
        missing.append(f"Landlock cannot be used here: {error.strerror or error}")
    return 0


def _with_seccomp(syscalls: Callable[[], Filter], missing: list[str]) -> bool:
    try:
        if seccompy.supported():
            syscalls().load()
            return True
        missing.append("seccomp filters are not active in this kernel")
    except OSError as error:
        missing.append(f"seccomp cannot be used here: {error.strerror or error}")
    return False


def _rules() -> Ruleset:
    """Everything that this kernel can forbid is forbidden: files, ports, signals and sockets of other processes."""
    return Ruleset(scoped=Scope.SIGNAL | Scope.ABSTRACT_UNIX_SOCKET)


def only_decoding() -> Filter:
    """What is not needed for decoding fails with EPERM; not loaded yet."""
    allowed = Filter(default=Action.ERRNO | errno.EPERM, flags=FilterFlag.TSYNC)
    for name in _known(_FREE.split()):
        allowed.allow(name)
    # fstat(3) is this in the C library; a path in it shows size and times of another file, nothing of its content.
    allowed.allow("newfstatat", args=[ArgCmp(3, CmpOp.MASKED_EQ, _AT_EMPTY_PATH, mask=_AT_EMPTY_PATH)])
    allowed.allow("sendto", args={4: 0})  # send(2): without an address
    allowed.allow("clone", args=[ArgCmp(0, CmpOp.MASKED_EQ, _CLONE_A_THREAD, mask=_CLONE_A_THREAD)])
    allowed.errno("clone3", errno.ENOSYS)  # its flags cannot be looked at: the C library falls back to clone
    allowed.allow("tgkill", args={0: os.getpid()})  # how a crash handler passes the signal on
    allowed.allow("prlimit64", args={0: 0, 2: 0})  # getrlimit(2)
    allowed.allow("prctl", args={0: _PR_SET_NAME})
    for request in (_FIOCLEX, _FIONCLEX):
        allowed.allow("ioctl", args={1: request})
    for command in _FCNTL:
        allowed.allow("fcntl", args={1: command})
    return allowed


def all_but_the_worst() -> Filter:
    """What no program has to do to decode a recording fails with EPERM; not loaded yet."""
    forbidden = Filter(default=Action.ALLOW, flags=FilterFlag.TSYNC)
    for name in _known(_NEVER.split()):
        forbidden.errno(name, errno.EPERM)
        if platform.machine() == "x86_64":
            forbidden.errno(seccompy.syscall_nr(name) | _X32_BIT, errno.EPERM)
    forbidden.errno("prlimit64", errno.EPERM, args=[ArgCmp(0, CmpOp.NE, 0)])  # of others: the daemon is one
    if platform.machine() == "x86_64":
        forbidden.errno(seccompy.syscall_nr("prlimit64") | _X32_BIT, errno.EPERM)
        for number in _X32_OWN:
            forbidden.errno(number | _X32_BIT, errno.EPERM)
    return forbidden


def _known(names: Sequence[str]) -> Iterator[str]:
    """Those of *names* that this architecture has: poll, pipe and others are of x86 only."""
    for name in names:
        try:
            seccompy.syscall_nr(name)
        except ValueError:
            continue
        yield name


def _files_of_programs(recording_fd: int) -> Ruleset:
    rules = _rules()
    read = AccessFS.READ_FILE | AccessFS.EXECUTE
    try:
        for folder in filter(os.path.isdir, _PROGRAM_FOLDERS):
            rules.allow_path(folder, read | AccessFS.READ_DIR)
        for file in filter(os.path.exists, (*_PROGRAM_FILES, *_ffmpeg())):
            rules.allow_path(file, read)
        rules.allow_path(os.devnull, AccessFS.READ_FILE | AccessFS.WRITE_FILE)
        with contextlib.suppress(OSError):  # a file in no folder (memfd_create) needs no rule and can have none
            rules.allow_path(f"/proc/self/fd/{recording_fd}", AccessFS.READ_FILE)
    except BaseException:
        rules.close()
        raise
    return rules


def _ffmpeg() -> Iterator[str]:
    for program in ("ffmpeg", "ffprobe"):
        path = shutil.which(program)
        if path:
            yield os.path.realpath(path)
