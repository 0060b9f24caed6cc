//! System calls that neither rustix nor nix has: the one module of this crate with `unsafe`.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Which side of [`fork`] one is on.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The process that forked, with the child's id and pidfd.
    Parent(Pid, OwnedFd),
}

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// The caller's.
    Caller,
    /// The caller's own parent's: a sibling.
    Parent,
}

/// `struct clone_args` of `clone3(2)`, the version of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks into new namespaces. The caller must have a single thread, as every part of kiln has.
///
/// `cgroup` is the directory of one of version 2 that the child is born in (Linux 5.7).
pub(crate) fn fork(namespaces: UnshareFlags, parent: Parent, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    assert_single_threaded();
    let mut pidfd: libc::c_int = -1;
    let sibling = if parent == Parent::Parent { libc::CLONE_PARENT as u64 } else { 0 };
    let args = CloneArgs {
        flags: u64::from(namespaces.bits())
            | libc::CLONE_PIDFD as u64
            | sibling
            | cgroup.map_or(0, |_| CLONE_INTO_CGROUP),
        cgroup: cgroup.map_or(0, |cgroup| cgroup.as_raw_fd() as u64),
        pidfd: &raw mut pidfd as u64,
        // With CLONE_PARENT the kernel takes the parent's exit signal and refuses another.
        exit_signal: if sibling == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM and a stack, clone3 is fork(2). The process has one thread (checked
    // above), so no lock of the allocator or the C library is held by a thread that does not exist
    // in the child. `args` and `pidfd` outlive the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
        pid => Ok(Forked::Parent(child_pid(pid), unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Forks plainly, where a filter has taken `clone3` away. The caller must have a single thread.
pub(crate) fn fork_simply() -> io::Result<Option<Pid>> {
    assert_single_threaded();
    // SAFETY: as for `fork`: there is no other thread whose locks the child could miss.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(child_pid(pid.into()))),
    }
}

/// Leaves the namespaces of the caller for new ones; `FILES` is not among the flags that we use.
pub(crate) fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    debug_assert!(!namespaces.contains(UnshareFlags::FILES));
    // SAFETY: only CLONE_FILES can take descriptors from under other threads.
    Ok(unsafe { rustix::thread::unshare_unsafe(namespaces) }?)
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// What [`mount_setattr`] touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// One mount.
    Single,
    /// The mount and all below it.
    Recursive,
}

/// Sets attributes (and an id mapping) of the mount that `tree` refers to.
pub(crate) fn mount_setattr(
    tree: BorrowedFd<'_>,
    reach: Reach,
    set: u64,
    idmap: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let idmap_flag = idmap.map_or(0, |_| libc::MOUNT_ATTR_IDMAP);
    let attr = MountAttr {
        set: set | idmap_flag,
        clear: 0,
        propagation: 0,
        userns_fd: idmap.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let recursive = if reach == Reach::Recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is empty and NUL-terminated, `attr` has the size that is passed, and both
    // outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    done(result)
}

/// One instruction of classic BPF, as the kernel takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BpfInstruction {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

/// Installs a seccomp filter on the calling thread.
pub(crate) fn seccomp(filter: &[BpfInstruction]) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    let program = libc::sock_fprog {
        len: filter.len().try_into().map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: BpfInstruction has the layout of `struct sock_filter`; the kernel copies `len` of
    // them during the call and does not write.
    done(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw const program) })
}

/// `struct landlock_ruleset_attr` up to ABI 6.
#[repr(C)]
struct LandlockRuleset {
    access_fs: u64,
    access_net: u64,
    scoped: u64,
}

/// The newest Landlock ABI of the kernel, 0 if it has none.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with the VERSION flag the kernel takes a null attribute of size 0.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    u32::try_from(abi).unwrap_or(0)
}

/// Cuts the calling thread off from abstract sockets made outside of it (Landlock ABI 6, Linux 6.12).
pub(crate) fn landlock_scope_abstract_sockets() -> io::Result<()> {
    const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    let attr = LandlockRuleset { access_fs: 0, access_net: 0, scoped: SCOPE_ABSTRACT_UNIX_SOCKET };
    // SAFETY: `attr` has the size that is passed and outlives the call.
    let ruleset = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size_of::<LandlockRuleset>(), 0u32)
    };
    done(ruleset)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset as libc::c_int) };
    // SAFETY: both arguments are plain integers.
    done(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) })
}

/// Joins a new, anonymous session keyring, so that the caller's keys stay behind.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is touched.
    done(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) })
}

/// Brings the interface `name` of the calling thread's network namespace up.
pub(crate) fn interface_up(name: &CStr, socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes().iter().take(libc::IFNAMSIZ - 1)) {
        *to = *from as libc::c_char;
    }
    // SAFETY: `request` is a whole `ifreq` with a terminated name; the kernel writes within it.
    done(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) }.into())?;
    // SAFETY: SIOCGIFFLAGS has just made the flags the live member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: as for SIOCGIFFLAGS; the kernel only reads.
    done(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())
}

/// Takes a descriptor that this process was born with, such as the control socket at 0.
pub(crate) fn inherited(descriptor: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes integers only and fails for a closed descriptor.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    done(copy.into())?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Marks every descriptor from `first` up close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: plain integers; a flag of descriptors that stay open.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })
}

/// Gives every signal its default action and lets all through: an ignored signal would stay ignored
/// across execve, as SIGPIPE is in Rust programs.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is no handler of ours; SIGKILL, SIGSTOP and what the C library keeps for
        // itself are refused without effect.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _never_fails = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// Lets writing to a pipe that nobody reads fail instead of ending the process. Rust programs start so;
/// a part that is intercepted before `main` does not.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: SIG_IGN is no function; setting it touches no memory of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Sends a signal by its number, real-time ones included, to the process of a pidfd. It is no error
/// if that has ended.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill in its own; the rest are integers.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, no_info, 0) };
    match done(sent) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

/// Kills the process group that the process of `pidfd` leads; that process alone before Linux 6.9.
pub(crate) fn pidfd_kill_group(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    /// `PIDFD_SIGNAL_PROCESS_GROUP`
    const PROCESS_GROUP: libc::c_uint = 1 << 2;
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill in its own; the rest are integers.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, no_info, PROCESS_GROUP) };
    match done(sent) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => pidfd_send_signal(pidfd, libc::SIGKILL),
        other => other,
    }
}

/// Where [`on_signal`] writes to; -1 is nowhere.
static SIGNAL_PIPES: [AtomicI32; 8] = [const { AtomicI32::new(-1) }; 8];

/// Signals that are written to a pipe instead of doing what they do, until this is dropped.
pub(crate) struct Caught {
    before: Vec<(i32, libc::sigaction)>,
    pipe: OwnedFd,
}

/// Writes each of `signals` that comes as one byte to `pipe`, which must be non-blocking. A process has one
/// of these at a time, or a few for signals that differ: the last to be dropped restores what it found.
pub(crate) fn catch_signals(signals: &[i32], pipe: OwnedFd) -> io::Result<Caught> {
    let mut caught = Caught { before: Vec::new(), pipe };
    if signals.is_empty() {
        return Ok(caught);
    }
    let descriptor = caught.pipe.as_raw_fd();
    let is_free = |slot: &&AtomicI32| slot.compare_exchange(-1, descriptor, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    SIGNAL_PIPES.iter().find(is_free).ok_or_else(|| io::Error::from_raw_os_error(libc::EBUSY))?;
    for signal in signals {
        // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask, the default action.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        let mut before = action;
        // SAFETY: both structures outlive the call, and the handler is async-signal-safe: it reads an
        // atomic and calls write(2).
        let result = unsafe { libc::sigaction(*signal, &raw const action, &raw mut before) };
        done(result.into())?;
        caught.before.push((*signal, before));
    }
    Ok(caught)
}

impl Drop for Caught {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: `before` is what the kernel said the action was.
            unsafe { libc::sigaction(*signal, before, std::ptr::null_mut()) };
        }
        for slot in &SIGNAL_PIPES {
            // Only the slot that was claimed for this pipe changes.
            let _ = slot.compare_exchange(self.pipe.as_raw_fd(), -1, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: errno is this thread's own, and put back below; `byte` outlives write(2), which is
    // async-signal-safe and fails harmlessly on a pipe that is full or gone.
    unsafe {
        let errno = *libc::__errno_location();
        for slot in &SIGNAL_PIPES {
            libc::write(slot.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        }
        *libc::__errno_location() = errno;
    }
}

/// Ends the process at once, without destructors or exit handlers.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Runs [`crate::intercept`] when a test program is loaded: its `main` belongs to the test harness.
#[cfg(any(test, feature = "intercept-at-load"))]
#[used]
#[unsafe(link_section = ".init_array")]
static INTERCEPT_AT_LOAD: extern "C" fn() = {
    extern "C" fn at_load() {
        crate::intercept();
    }
    at_load
};

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn child_pid(pid: libc::c_long) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("clone3 returns the id of a process")
}

fn assert_single_threaded() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    assert!(threads == 1, "a part of kiln forks with {threads} threads");
}
