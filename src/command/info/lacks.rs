//! What a machine does not offer to kiln, each with the one thing that would help.

use run::identity::{Entered, NoSubordinate, Standing};
use run::probe::{Isolation, Probe};
use run::sandbox::CgroupLayout;
use store::sharing::{Mechanism, RootDriver, Sharing};

use crate::report::with_causes;

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    /// What does not work, and why.
    pub(super) what: String,
    /// What to do about it.
    pub(super) remedy: String,
}

/// All that is missing, what matters most first.
pub(super) fn lacks(probe: &Probe, entered: Entered, mechanism: Mechanism) -> Vec<Lack> {
    let lacks = [
        isolation(&probe.isolation),
        ids(entered),
        system_calls(probe),
        limits(probe),
        egress(probe),
        abstract_sockets(probe),
        root_filesystems(mechanism),
    ];
    lacks.into_iter().flatten().collect()
}

fn lack(what: impl Into<String>, remedy: impl Into<String>) -> Option<Lack> {
    Some(Lack { what: what.into(), remedy: remedy.into() })
}

fn isolation(isolation: &Isolation) -> Option<Lack> {
    match isolation {
        Isolation::Mapped => None,
        Isolation::Host { why } => lack(
            format!("root in a box is root outside: {}", with_causes(why)),
            "a store on ext4, XFS or btrfs, which have idmapped mounts (--root), and Linux 5.19 or newer",
        ),
        Isolation::Impossible { why } => lack(
            format!("nothing can be run: {}", with_causes(why)),
            "running kiln as root; inside of a container, one that may mount (--privileged)",
        ),
    }
}

fn ids(entered: Entered) -> Option<Lack> {
    let Entered::Single { why } = entered else { return None };
    let (reason, remedy) = match why {
        NoSubordinate::NotInstalled => {
            ("newuidmap is not installed", "apt install uidmap (Fedora: dnf install shadow-utils)")
        }
        NoSubordinate::NotGranted => (
            "no others are granted in /etc/subuid and /etc/subgid",
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, if that range is free",
        ),
        NoSubordinate::Refused => (
            "newuidmap or newgidmap refused the others",
            "as root: chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap; are the ranges in /etc/subuid well-formed?",
        ),
    };
    lack(format!("files can belong to one user only: {reason}"), remedy)
}

fn system_calls(probe: &Probe) -> Option<Lack> {
    if probe.filters_system_calls {
        return None;
    }
    lack("system calls are not filtered", "a kernel with CONFIG_SECCOMP_FILTER, on x86-64, AArch64 or RISC-V")
}

fn limits(probe: &Probe) -> Option<Lack> {
    let all = ["memory", "cpu", "cpuset", "pids"];
    let missing: Vec<&str> =
        all.into_iter().filter(|name| probe.limits.iter().all(|usable| usable.as_str() != *name)).collect();
    if missing.is_empty() {
        return None;
    }
    let remedy = match (&probe.tier.cgroups, probe.tier.standing) {
        (CgroupLayout::Absent, _) => "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        (CgroupLayout::Unified { .. }, Standing::Root) => "these controllers in the cgroup.subtree_control above kiln",
        (CgroupLayout::Unified { .. }, _) => "systemd-run --user --scope -p Delegate=yes kiln ...",
        (CgroupLayout::Legacy { .. }, Standing::Root) => "these controllers mounted below /sys/fs/cgroup",
        (CgroupLayout::Legacy { .. }, _) => "running kiln as root, or cgroup v2: v1 is not delegated to users",
    };
    lack(format!("no limits of {}", missing.join(", ")), remedy)
}

fn egress(probe: &Probe) -> Option<Lack> {
    if !probe.egress.is_empty() {
        return None;
    }
    let tunnel = std::fs::File::options().read(true).write(true).open("/dev/net/tun");
    let remedy = match (probe.tier.standing, tunnel) {
        (Standing::Root, _) => "apt install nftables",
        (_, Err(_)) => "as root: modprobe tun; chmod 666 /dev/net/tun",
        (_, Ok(_)) => "apt install passt (or slirp4netns)",
    };
    lack("a container has no way out but by --network=host, and RUN shares this machine's network", remedy)
}

fn abstract_sockets(probe: &Probe) -> Option<Lack> {
    const WITH_SCOPES: u32 = 6;
    if probe.tier.landlock_abi >= WITH_SCOPES {
        return None;
    }
    lack("a RUN with the host's network reaches the host's abstract sockets", "Linux 6.12, or RUN --network=none")
}

fn root_filesystems(mechanism: Mechanism) -> Option<Lack> {
    match (mechanism.root, mechanism.sharing) {
        (RootDriver::Copy, _) => lack(
            "every RUN and every container copies its root filesystem: overlayfs does not mount on the store",
            "a store that is not itself on overlayfs or NFS (--root)",
        ),
        (RootDriver::Overlay, Sharing::Copy) => {
            lack("large files are copied into every unpacked layer", "a store on btrfs or XFS, or Linux 6.16")
        }
        (RootDriver::Overlay, Sharing::Reflink | Sharing::Stubs) => None,
    }
}

#[cfg(test)]
mod tests {
    use run::probe::Tier;
    use run::sandbox::SandboxError;

    use super::*;

    const BEST: Mechanism = Mechanism { root: RootDriver::Overlay, sharing: Sharing::Reflink };

    fn whole() -> Probe {
        Probe {
            kernel: "7.0".into(),
            tier: Tier::root(),
            ids: 1 << 31,
            isolation: Isolation::Mapped,
            limits: ["memory", "cpu", "cpuset", "pids"].map(String::from).to_vec(),
            egress: vec!["nat".into()],
            filters_system_calls: true,
        }
    }

    fn check(probe: &Probe, entered: Entered, mechanism: Mechanism, what: &str, remedy: &str) {
        let found = lacks(probe, entered, mechanism);
        let [only] = &found[..] else { panic!("{what}: {found:?}") };
        assert!(only.what.contains(what) && only.remedy.contains(remedy), "{only:?}");
    }

    #[test]
    fn each_lack_alone() {
        assert_eq!(lacks(&whole(), Entered::Already, BEST), []);
        let with = |change: fn(&mut Probe)| {
            let mut probe = whole();
            change(&mut probe);
            probe
        };
        let already = Entered::Already;
        let host = with(|probe| probe.isolation = Isolation::Host { why: SandboxError::NoCommand });
        check(&host, already, BEST, "root outside: there is no command", "idmapped");
        let none = with(|probe| probe.isolation = Isolation::Impossible { why: SandboxError::NoCommand });
        check(&none, already, BEST, "nothing can be run", "as root");
        let single = |why| Entered::Single { why };
        check(&whole(), single(NoSubordinate::NotInstalled), BEST, "one user only", "uidmap");
        check(&whole(), single(NoSubordinate::NotGranted), BEST, "/etc/subuid", "usermod");
        check(&with(|probe| probe.filters_system_calls = false), already, BEST, "not filtered", "SECCOMP");
        check(&with(|probe| drop(probe.limits.pop())), already, BEST, "no limits of pids", "subtree_control");
        check(&with(|probe| probe.egress.clear()), already, BEST, "no way out", "nftables");
        check(&with(|probe| probe.tier.landlock_abi = 5), already, BEST, "abstract sockets", "6.12");
        let copy = Mechanism { root: RootDriver::Overlay, sharing: Sharing::Copy };
        check(&whole(), already, copy, "large files are copied", "btrfs");
    }
}
