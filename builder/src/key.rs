//! What decides about a step: the key, and the record that explains it.
//!
//! A key is the BLAKE3 of the parts listed here, in this order, each by name and value. The parts
//! are also what is recorded and what a miss is explained with, so that table, encoder and reasons
//! cannot drift apart. Lists of files stand beside an id that covers them: they explain, and are
//! not hashed.
//!
//! | operation | part | why |
//! |---|---|---|
//! | RUN | `root filesystem` | a command may read any file; the tree's id, not how it came to be |
//! | | `argument` | each, shell included |
//! | | `variable NAME` | each, in order: ENV and the ARGs in scope |
//! | | `user`, `directory` | who and where |
//! | | `mount /target` | bind: id of what is mounted and the access; cache: id only; secret, ssh: name and look only; tmpfs: size; script: its bytes |
//! | | `network`, `security` | as requested, not what the machine made of it |
//! | | `host`, `hostname`, `shm size`, `limit NAME` | commands see them; of a host the name only |
//! | | `image's file` | files of `/etc` that are not kiln's |
//! | | `capability`, `no capability`, `group`, `system calls`, `new privileges`, `users`, `namespace of the host`, `device /target` | where they are not Docker's |
//! | | `volume /target` | the machine's path, not what is there |
//! | | `platform`, `epoch` | commands see them |
//! | COPY, ADD | `source` | id of each file or directory that is copied, after ignore rules and `--exclude` |
//! | | `unpacked` | which of the sources are archives whose files are copied |
//! | | `destination`, `owner`, `mode`, `times` | resolved to numbers |
//! | | `link` | whether it lies on the base or on nothing |
//! | | `at /path` | what the base has along the destination: kind, owner, mode, attributes, link target |
//! | WORKDIR | `directory`, `owner`, `times` | resolved to numbers |
//! | | `at /path` | as for COPY |
//!
//! Not in any key: proxy variables, values of secrets, contents of cache mounts, memory and
//! processor limits, addresses of hosts and name servers, names of stages, tags of images, LABEL, CMD and their like, host name and clock
//! of the machine. Images and contexts have no key: the ids of their trees are in the keys of what
//! reads them.

use std::collections::BTreeMap;

use run::sandbox::{Belonging, Capability, CapabilitySet, Seccomp, Sharing as Namespaces, UserNamespace};
use store::action::Part;
use store::tree::{Metadata, Timestamp};
use store::{ActionKey, ObjectId, RelPath, TreeId};

use crate::copy::{Destination, Fact, Form, ModeChange, Owner, Times};
use crate::graph::{
    Access, CacheMount, Clock, Device, Footing, Mount, MountKind, Network, Privileges, RunOp, SecretMount, Security,
    Sharing, SshMount, Volume,
};

/// The part of a RUN that is the id of all files that it sees.
pub const ROOT: &str = "root filesystem";
/// The part beside [`ROOT`] that explains it: what each step below left.
pub const LINEAGE: &str = "made by";
/// The part of a COPY that is the id of what it copies.
pub const SOURCE: &str = "source";
/// The part beside [`SOURCE`] that explains it: each file.
pub const FILES: &str = "files";

/// Changes whenever what an operation does with the same parts changes.
const DOMAIN: &str = "kiln action 1";

/// What a copy's key is made of, all names resolved.
#[derive(Debug, Clone)]
pub struct CopyKey<'a> {
    /// The ids of what is copied, in order.
    pub sources: Vec<TreeId>,
    /// The places of those among them that are archives to unpack.
    pub unpacked: Vec<usize>,
    /// Where it goes.
    pub destination: &'a Destination,
    /// `--chown`
    pub owner: Option<Owner>,
    /// `--chmod`
    pub mode: Option<&'a ModeChange>,
    /// `--link`
    pub footing: Footing,
    /// What becomes of times.
    pub times: Times,
    /// What the base has along the destination.
    pub facts: &'a BTreeMap<RelPath, Fact>,
}

/// The key of parts.
pub fn of_parts(operation: &str, parts: &[Part]) -> ActionKey {
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    let mut text = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    text(operation);
    for part in parts {
        if let store::action::Value::Text(value) = &part.value {
            text(&part.name);
            text(value);
        }
    }
    hasher.finalize().into()
}

/// The parts of a RUN. `bound` is the id of what each bind mount shows, by its place.
pub fn run_parts(run: &RunOp, root: TreeId, bound: &dyn Fn(usize) -> String) -> Vec<Part> {
    // Every field is named, so that a new one does not compile until it is decided about.
    let RunOp {
        base: _,
        argv,
        env,
        proxies: _,
        user,
        cwd,
        mounts,
        network,
        security,
        hosts,
        dns: _,
        kept_files,
        privileges,
        volumes,
        hostname,
        limits,
        platform,
        clock,
    } = run;
    let mut parts = vec![Part::text(ROOT, root.to_string())];
    parts.extend(argv.iter().map(|argument| Part::text("argument", argument)));
    parts.extend(env.iter().map(|(name, value)| Part::text(format!("variable {name}"), value)));
    parts.push(Part::text("user", user));
    parts.push(Part::text("directory", cwd.to_string()));
    parts.extend(mounts.iter().enumerate().map(|(index, mount)| mount_part(mount, &|| bound(index))));
    parts.push(Part::text("network", network_name(*network)));
    parts.push(Part::text("security", security_name(*security)));
    // Where a name leads to is the machine's business, as it is without the flag.
    parts.extend(hosts.iter().map(|(name, _)| Part::text("host", name)));
    parts.extend(kept_files.iter().map(|file| Part::text("image's file", file.path())));
    parts.extend(privilege_parts(privileges));
    let volume = |Volume { source, target, access }: &Volume| {
        Part::text(format!("volume {target}"), format!("{} {}", source.display(), access_name(*access)))
    };
    parts.extend(volumes.iter().map(volume));
    parts.push(Part::text("hostname", hostname));
    parts.extend(limits.shm_bytes.map(|size| Part::text("shm size", size.to_string())));
    let number = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let limit = |(name, soft, hard): &(String, Option<u64>, Option<u64>)| {
        Part::text(format!("limit {name}"), format!("{}:{}", number(*soft), number(*hard)))
    };
    parts.extend(limits.ulimits.iter().map(limit));
    parts.push(Part::text("platform", platform.to_string()));
    parts.push(Part::text("epoch", epoch_text(*clock)));
    parts
}

/// The parts of a COPY or ADD.
pub fn copy_parts(key: &CopyKey<'_>) -> Vec<Part> {
    let CopyKey { sources, unpacked, destination, owner, mode, footing, times, facts } = key;
    let mut parts: Vec<Part> = sources.iter().map(|source| Part::text(SOURCE, source.to_string())).collect();
    parts.extend(unpacked.iter().map(|place| Part::text("unpacked", place.to_string())));
    parts.push(destination_part(destination));
    parts.extend(owner.map(|owner| Part::text("owner", owner.to_string())));
    parts.extend(mode.map(|mode| Part::text("mode", mode.to_string())));
    parts.push(times_part(times));
    parts.push(footing_part(*footing));
    parts.extend(fact_parts(facts));
    parts
}

/// The parts of a WORKDIR.
pub fn workdir_parts(path: &RelPath, owner: Owner, times: &Times, facts: &BTreeMap<RelPath, Fact>) -> Vec<Part> {
    let mut parts =
        vec![Part::text("directory", path.to_string()), Part::text("owner", owner.to_string()), times_part(times)];
    parts.extend(fact_parts(facts));
    parts
}

/// Where a copy goes, and whether that was written as a directory.
pub fn destination_part(destination: &Destination) -> Part {
    let slash = if destination.form == Form::Directory { "/" } else { "" };
    Part::text("destination", format!("{}{slash}", destination.path))
}

/// What a copy lies on.
pub fn footing_part(footing: Footing) -> Part {
    Part::text("link", if footing == Footing::Nothing { "nothing" } else { "base" })
}

/// What becomes of times.
pub fn times_part(times: &Times) -> Part {
    Part::text("times", times_text(times))
}

fn mount_part(mount: &Mount, bound: &dyn Fn() -> String) -> Part {
    let value = match &mount.kind {
        MountKind::Bind { from: _, source: _, access } => format!("bind {} {}", bound(), access_name(*access)),
        MountKind::Cache(CacheMount { id, sharing, seed: _, mode: _, uid: _, gid: _, access }) => {
            // Sharing changes who waits and not what is seen; access decides whether writes fail.
            let (Sharing::Shared | Sharing::Private | Sharing::Locked) = sharing;
            format!("cache {id} {}", access_name(*access))
        }
        MountKind::Tmpfs { size_bytes } => {
            format!("tmpfs {}", size_bytes.map_or_else(String::new, |size| size.to_string()))
        }
        MountKind::Secret(SecretMount { id, file, env, need: _ }) => {
            let file = file.map_or_else(String::new, |file| format!(" {:o} {}:{}", file.mode, file.uid, file.gid));
            format!("secret {id}{file} {}", env.as_deref().unwrap_or(""))
        }
        MountKind::Ssh(SshMount { id, file, need: _ }) => {
            format!("ssh {id} {:o} {}:{}", file.mode, file.uid, file.gid)
        }
        MountKind::Script { content } => format!("script {}", ObjectId::of(content)),
    };
    Part::text(format!("mount {}", mount.target), value)
}

/// Nothing for what Docker gives: most builds say nothing of it.
fn privilege_parts(privileges: &Privileges) -> Vec<Part> {
    let Privileges { capabilities, seccomp, no_new_privileges, groups, users, namespaces, devices } = privileges;
    let usual = CapabilitySet::docker_default();
    let mut parts = Vec::new();
    for capability in Capability::all() {
        match (capabilities.contains(capability), usual.contains(capability)) {
            (true, false) => parts.push(Part::text("capability", capability.name())),
            (false, true) => parts.push(Part::text("no capability", capability.name())),
            _ => {}
        }
    }
    parts.extend(groups.iter().map(|group| Part::text("group", group)));
    if *seccomp == Seccomp::Unconfined {
        parts.push(Part::text("system calls", "all"));
    }
    if *no_new_privileges {
        parts.push(Part::text("new privileges", "none"));
    }
    if *users == UserNamespace::Host {
        parts.push(Part::text("users", "host"));
    }
    let Namespaces { ipc, processes, names, cgroups } = namespaces;
    for (name, whose) in [("ipc", ipc), ("processes", processes), ("names", names), ("cgroups", cgroups)] {
        if *whose != Belonging::Own {
            parts.push(Part::text("namespace of the host", name));
        }
    }
    let device =
        |Device { source, target }: &Device| Part::text(format!("device {target}"), source.display().to_string());
    parts.extend(devices.iter().map(device));
    parts
}

fn fact_parts(facts: &BTreeMap<RelPath, Fact>) -> impl Iterator<Item = Part> {
    facts.iter().map(|(path, fact)| Part::text(format!("at {path}"), fact_text(fact)))
}

fn fact_text(fact: &Fact) -> String {
    match fact {
        Fact::Directory(Metadata { mode, uid, gid, mtime, xattrs }) => {
            let mut text = format!("directory {mode:04o} {uid}:{gid} {}", time_text(*mtime));
            for (name, value) in xattrs.iter() {
                text.push_str(&format!(" {}={}", store::path::display(name), ObjectId::of(value)));
            }
            text
        }
        Fact::Link(target) => format!("link to {}", store::path::display(target)),
        Fact::Other => "no directory".to_owned(),
    }
}

fn times_text(times: &Times) -> String {
    let Times { exactly, ceiling, new } = times;
    match (exactly, ceiling) {
        (Some(time), _) => format!("all {}", time_text(*time)),
        (None, Some(ceiling)) => format!("up to {}", time_text(*ceiling)),
        // What is new has the time of the build, which must not decide about a hit.
        (None, None) => {
            let _ = new;
            "kept".to_owned()
        }
    }
}

fn epoch_text(clock: Clock) -> String {
    match clock {
        Clock::Epoch(epoch) => time_text(epoch),
        Clock::Exact(time) => format!("exactly {}", time_text(time)),
        Clock::Preserve { epoch: _, now: _ } => "kept".to_owned(),
    }
}

fn time_text(time: Timestamp) -> String {
    if time.nanos == 0 { time.secs.to_string() } else { format!("{}.{:09}", time.secs, time.nanos) }
}

fn network_name(network: Network) -> &'static str {
    match network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    }
}

fn security_name(security: Security) -> &'static str {
    match security {
        Security::Sandbox => "sandbox",
        Security::Insecure => "insecure",
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Limits, Need, SecretFile, VertexId};
    use run::sandbox::{EtcFile, HostAddress};
    use store::Platform;

    fn run() -> RunOp {
        RunOp {
            base: VertexId(0),
            argv: vec!["make".into()],
            env: vec![("A".into(), "1".into()), ("B".into(), "2".into())],
            proxies: Vec::new(),
            user: String::new(),
            cwd: RelPath::root(),
            mounts: vec![mount(MountKind::Tmpfs { size_bytes: None })],
            network: Network::Default,
            security: Security::Sandbox,
            hosts: Vec::new(),
            dns: Default::default(),
            kept_files: Vec::new(),
            privileges: Privileges::default(),
            volumes: Vec::new(),
            hostname: "kiln".into(),
            limits: Limits::default(),
            platform: Platform::new("linux", "amd64", ""),
            clock: Clock::Epoch(Timestamp::from_secs(1)),
        }
    }

    fn mount(kind: MountKind) -> Mount {
        Mount { target: RelPath::clean(b"m").unwrap(), kind }
    }

    fn cache(id: &str, sharing: Sharing) -> MountKind {
        let access = Access::ReadWrite;
        MountKind::Cache(CacheMount { id: id.into(), sharing, seed: None, mode: 0o755, uid: 0, gid: 0, access })
    }

    fn secret(need: Need) -> MountKind {
        let file = Some(SecretFile { mode: 0o400, uid: 0, gid: 0 });
        MountKind::Secret(SecretMount { id: "s".into(), file, env: None, need })
    }

    fn ssh(id: &str, need: Need) -> MountKind {
        let file = SecretFile { mode: 0o600, uid: 0, gid: 0 };
        MountKind::Ssh(SshMount { id: id.into(), file, need })
    }

    fn key(run: &RunOp, root: u8) -> ActionKey {
        of_parts("run", &run_parts(run, TreeId::from_bytes([root; 32]), &|_| "bound".into()))
    }

    fn changed(change: impl FnOnce(&mut RunOp)) -> ActionKey {
        let mut run = run();
        change(&mut run);
        key(&run, 0)
    }

    /// Rule D001.
    #[test]
    fn what_a_command_can_see_decides() {
        let device = Device { source: "/dev/fuse".into(), target: RelPath::clean(b"dev/fuse").unwrap() };
        let with_mount = |kind: MountKind| changed(|run| run.mounts = vec![mount(kind)]);
        let keys = [
            key(&run(), 0),
            key(&run(), 1),
            changed(|run| run.argv.push("x".into())),
            changed(|run| run.env[0].1 = "9".into()),
            changed(|run| run.env.reverse()),
            changed(|run| run.user = "app".into()),
            changed(|run| run.cwd = RelPath::clean(b"w").unwrap()),
            changed(|run| run.network = Network::None),
            changed(|run| run.security = Security::Insecure),
            changed(|run| run.hosts.push(("h".into(), HostAddress::Host))),
            changed(|run| run.hostname = "other".into()),
            changed(|run| run.privileges.capabilities = CapabilitySet::EMPTY),
            changed(|run| run.privileges.capabilities = CapabilitySet::all()),
            changed(|run| run.privileges.groups.push("video".into())),
            changed(|run| run.privileges.seccomp = Seccomp::Unconfined),
            changed(|run| run.privileges.no_new_privileges = true),
            changed(|run| run.privileges.users = UserNamespace::Host),
            changed(|run| run.privileges.namespaces.names = Belonging::Host),
            changed(|run| run.privileges.namespaces.ipc = Belonging::Host),
            changed(|run| run.privileges.devices.push(device.clone())),
            changed(|run| run.kept_files.push(EtcFile::Hosts)),
            changed(|run| run.kept_files.push(EtcFile::Hostname)),
            with_mount(ssh("one", Need::Optional)),
            with_mount(ssh("two", Need::Optional)),
            changed(|run| run.limits.shm_bytes = Some(1)),
            changed(|run| run.limits.ulimits.push(("nofile".into(), Some(1), None))),
            changed(|run| run.platform = Platform::new("linux", "arm64", "")),
            changed(|run| run.clock = Clock::Epoch(Timestamp::from_secs(2))),
            changed(|run| run.clock = Clock::Exact(Timestamp::from_secs(1))),
            with_mount(cache("one", Sharing::Shared)),
            with_mount(cache("two", Sharing::Shared)),
            with_mount(secret(Need::Optional)),
            with_mount(MountKind::Script { content: b"#!".to_vec() }),
        ];
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }

    /// Rule D002.
    #[test]
    fn what_it_cannot_see_does_not() {
        let same = key(&run(), 0);
        assert_eq!(changed(|run| run.base = VertexId(7)), same);
        assert_eq!(changed(|run| run.proxies.push(("http_proxy".into(), "x".into()))), same);
        assert_eq!(changed(|run| run.limits.memory_bytes = Some(1)), same);
        assert_eq!(changed(|run| run.limits.milli_cpus = Some(1)), same);
        assert_eq!(changed(|run| run.limits.cgroup_parent = Some("/ci".into())), same);
        let with_mount = |kind: MountKind| changed(|run| run.mounts = vec![mount(kind)]);
        assert_eq!(with_mount(cache("c", Sharing::Locked)), with_mount(cache("c", Sharing::Private)));
        let at = |address: [u8; 4]| changed(|run| run.hosts.push(("h".into(), HostAddress::At(address.into()))));
        assert_eq!(at([127, 0, 0, 1]), at([10, 0, 0, 1]), "rule D002: names of hosts count, addresses do not");
        assert_eq!(changed(|run| run.dns.search.push("example".into())), same);
        assert_eq!(changed(|run| run.limits.cpu_quota_us = Some(1)), same);
        assert_eq!(with_mount(ssh("a", Need::Required)), with_mount(ssh("a", Need::Optional)));
        assert_eq!(with_mount(secret(Need::Required)), with_mount(secret(Need::Optional)));
        let kept = |secs| changed(|run| run.clock = Clock::Preserve { epoch: None, now: Timestamp::from_secs(secs) });
        assert_eq!(kept(1), kept(2));
    }

    #[test]
    fn parts_cannot_run_into_one_another() {
        let parts = |pairs: &[(&str, &str)]| {
            of_parts("run", &pairs.iter().map(|(name, value)| Part::text(*name, *value)).collect::<Vec<_>>())
        };
        assert_ne!(parts(&[("a", "bc")]), parts(&[("ab", "c")]));
        assert_ne!(parts(&[("a", "b"), ("c", "d")]), parts(&[("a", "bcd")]));
        assert_ne!(of_parts("run", &[]), of_parts("copy", &[]));
    }

    #[test]
    fn the_encoding_stays_as_it_is() {
        let expected = "0fd89d85cf2e07d436ea3b4a98e5ec2a4b1a210ae7361e25205afb6f6cf78029";
        assert_eq!(key(&run(), 0).to_string(), expected, "a changed key is a lost cache: raise the domain's version");
    }
}
