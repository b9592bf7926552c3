//! System call filters.
//!
//! The default allows what ordinary programs use and refuses, with EPERM, what reaches into the kernel or other
//! processes; some calls come with the capability that governs them. `clone3` answers ENOSYS because its flags cannot
//! be inspected: the C library then uses `clone`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

const FILES: &str = "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat \
    faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 \
    fdatasync fgetxattr file_getattr file_setattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs \
    fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch \
    inotify_init inotify_init1 inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat \
    llistxattr lremovexattr lseek _llseek lsetxattr lstat lstat64 memfd_create mkdir mkdirat mknod mknodat newfstatat open \
    openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv \
    removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 \
    statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime \
    utimensat utimensat_time64 utimes vmsplice write writev cachestat";
const MEMORY: &str = "brk get_mempolicy madvise map_shadow_stack membarrier mincore mlock mlock2 mlockall mmap mmap2 \
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease \
    remap_file_pages";
const PROCESSES: &str = "alarm arch_prctl capget capset execve execveat exit exit_group fork getegid getegid32 geteuid \
    geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 \
    getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 get_robust_list get_thread_area ioprio_get \
    ioprio_set kill modify_ldt pause pidfd_open pidfd_send_signal prctl prlimit64 rseq sched_getaffinity sched_getattr \
    sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval \
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp \
    setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 \
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid set_thread_area \
    set_tid_address setuid setuid32 tgkill tkill ugetrlimit uname vfork wait4 waitid waitpid getcpu sysinfo getrandom \
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr lsm_list_modules";
const SIGNALS_AND_TIME: &str = "clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep \
    clock_nanosleep_time64 getitimer gettimeofday nanosleep restart_syscall rt_sigaction rt_sigpending rt_sigprocmask \
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo setitimer \
    sigaltstack signalfd signalfd4 sigprocmask sigreturn time timer_create timer_delete timer_getoverrun timer_gettime \
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
    timerfd_settime64 times adjtimex clock_adjtime clock_adjtime64";
const WAITING: &str = "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake io_cancel io_destroy \
    io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit poll ppoll ppoll_time64 pselect6 pselect6_time64 \
    select _newselect";
const SOCKETS_AND_IPC: &str = "accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr \
    mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv \
    msgsnd recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 send sendmmsg \
    sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketcall socketpair";
/// Safe with the kernels that this program runs on at all.
const TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// Calls that come with a capability.
const BY_CAPABILITY: [(&str, &str); 13] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns statmount syslog umount \
         umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
];

/// Flags of `clone` that make namespaces.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;
/// Values of `personality` that only change what `uname` says or layout randomisation.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];
/// Sockets to the hypervisor's host are refused.
const AF_VSOCK: u64 = 40;

/// The filter that a container's configuration names: the default, or a local file with a specification's `seccomp`.
///
/// # Errors
/// When the file cannot be read.
pub fn profile(name: &str, capabilities: &BTreeSet<&'static str>) -> Result<Value, String> {
    match name {
        "runtime/default" | "docker/default" => Ok(default(capabilities)),
        path => {
            let path = path.trim_start_matches("localhost/");
            let text = std::fs::read(path)
                .map_err(|error| format!("cannot load seccomp profile {path:?}: {error}"))?;
            serde_json::from_slice(&text).map_err(|error| {
                format!("cannot load seccomp profile {path:?}: decoding seccomp profile failed: {error}")
            })
        }
    }
}

fn default(capabilities: &BTreeSet<&'static str>) -> Value {
    let mut allowed: BTreeSet<&str> =
        [FILES, MEMORY, PROCESSES, SIGNALS_AND_TIME, WAITING, SOCKETS_AND_IPC, TRACING]
            .iter()
            .flat_map(|group| group.split_whitespace())
            .collect();
    for (_, calls) in BY_CAPABILITY.iter().filter(|(capability, _)| capabilities.contains(capability)) {
        allowed.extend(calls.split_whitespace());
    }
    let argument =
        |index: u32, value: u64, operator: &str| json!([{ "index": index, "value": value, "op": operator }]);
    let allow =
        |names: Value, args: Value| json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": args });
    let mut rules = vec![json!({ "names": allowed, "action": "SCMP_ACT_ALLOW" })];
    rules.push(allow(json!(["socket"]), argument(0, AF_VSOCK, "SCMP_CMP_NE")));
    rules.extend(PERSONALITIES.map(|value| allow(json!(["personality"]), argument(0, value, "SCMP_CMP_EQ"))));
    if !capabilities.contains("SYS_ADMIN") {
        let masked =
            json!([{ "index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }]);
        rules.push(allow(json!(["clone"]), masked));
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

fn architectures() -> Vec<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => vec!["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_widen_the_filter() {
        let allows = |capabilities: &[&'static str], call: &str| {
            let profile = default(&capabilities.iter().copied().collect());
            profile["syscalls"][0]["names"].as_array().is_some_and(|names| names.contains(&json!(call)))
        };
        assert!(!allows(&[], "mount") && allows(&["SYS_ADMIN"], "mount"));
        assert!(!allows(&[], "reboot") && allows(&[], "openat"));
        assert!(!allows(&[], "add_key") && !allows(&["SYS_ADMIN"], "kexec_load"));
    }
}
