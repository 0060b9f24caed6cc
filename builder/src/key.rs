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
//! | | `mount /target` | bind: id of what is mounted and the access; cache: id only; secret: name only; tmpfs: size; script: its bytes |
//! | | `network`, `security` | as requested, not what the machine made of it |
//! | | `host NAME`, `hostname`, `shm size`, `limit NAME` | commands see them |
//! | | `platform`, `epoch` | commands see them |
//! | COPY, ADD | `source` | id of each file or directory that is copied, after ignore rules and `--exclude` |
//! | | `destination`, `owner`, `mode`, `times` | resolved to numbers |
//! | | `link` | whether it lies on the base or on nothing |
//! | | `at /path` | what the base has along the destination: kind, owner, mode, attributes, link target |
//! | WORKDIR | `directory`, `owner`, `times` | resolved to numbers |
//! | | `at /path` | as for COPY |
//!
//! Not in any key: proxy variables, values of secrets, contents of cache mounts, memory and
//! processor limits, names of stages, tags of images, LABEL, CMD and their like, host name and clock
//! of the machine. Images and contexts have no key: the ids of their trees are in the keys of what
//! reads them.

use std::collections::BTreeMap;

use store::action::Part;
use store::tree::{Metadata, Timestamp};
use store::{ActionKey, ObjectId, RelPath, TreeId};

use crate::copy::{Destination, Fact, Form, ModeChange, Owner, Times};
use crate::graph::{
    Access, CacheMount, Clock, Footing, Mount, MountKind, Network, RunOp, SecretMount, Security, Sharing,
};

/// Changes whenever what an operation does with the same parts changes.
const DOMAIN: &str = "kiln action 1";

/// What a copy's key is made of, all names resolved.
#[derive(Debug, Clone)]
pub struct CopyKey<'a> {
    /// The ids of what is copied, in order.
    pub sources: Vec<TreeId>,
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
        hostname,
        limits,
        platform,
        clock,
    } = run;
    let mut parts = vec![Part::text("root filesystem", root.to_string())];
    parts.extend(argv.iter().map(|argument| Part::text("argument", argument)));
    parts.extend(env.iter().map(|(name, value)| Part::text(format!("variable {name}"), value)));
    parts.push(Part::text("user", user));
    parts.push(Part::text("directory", cwd.to_string()));
    parts.extend(mounts.iter().enumerate().map(|(index, mount)| mount_part(mount, &|| bound(index))));
    parts.push(Part::text("network", network_name(*network)));
    parts.push(Part::text("security", security_name(*security)));
    parts.extend(hosts.iter().map(|(name, address)| Part::text(format!("host {name}"), address.to_string())));
    parts.push(Part::text("hostname", hostname));
    parts.extend(limits.shm_bytes.map(|size| Part::text("shm size", size.to_string())));
    let limit = |(name, soft, hard): &(String, u64, u64)| Part::text(format!("limit {name}"), format!("{soft}:{hard}"));
    parts.extend(limits.ulimits.iter().map(limit));
    parts.push(Part::text("platform", platform.to_string()));
    parts.push(Part::text("epoch", epoch_text(*clock)));
    parts
}

/// The parts of a COPY or ADD.
pub fn copy_parts(key: &CopyKey<'_>) -> Vec<Part> {
    let CopyKey { sources, destination, owner, mode, footing, times, facts } = key;
    let mut parts: Vec<Part> = sources.iter().map(|source| Part::text("source", source.to_string())).collect();
    let slash = if destination.form == Form::Directory { "/" } else { "" };
    parts.push(Part::text("destination", format!("{}{slash}", destination.path)));
    parts.extend(owner.map(|owner| Part::text("owner", owner.to_string())));
    parts.extend(mode.map(|mode| Part::text("mode", mode.to_string())));
    parts.push(Part::text("times", times_text(times)));
    parts.push(Part::text("link", if *footing == Footing::Nothing { "nothing" } else { "base" }));
    parts.extend(fact_parts(facts));
    parts
}

/// The parts of a WORKDIR.
pub fn workdir_parts(path: &RelPath, owner: Owner, times: &Times, facts: &BTreeMap<RelPath, Fact>) -> Vec<Part> {
    let mut parts = vec![
        Part::text("directory", path.to_string()),
        Part::text("owner", owner.to_string()),
        Part::text("times", times_text(times)),
    ];
    parts.extend(fact_parts(facts));
    parts
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
        MountKind::Script { content } => format!("script {}", ObjectId::of(content)),
    };
    Part::text(format!("mount {}", mount.target), value)
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
