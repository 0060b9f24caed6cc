//! RUN: from an instruction to an operation.

use store::RelPath;

use super::scope::expanded;
use super::stage::{Place, Planner, State, text_of};
use super::{PlanError, error_at};
use crate::diagnostic::Span;
use crate::dockerfile::mount::{self, Ownership, ResolveError};
use crate::dockerfile::{self, NetworkMode, Run, RunMount, Script, SecurityMode, Statement, Word};
use crate::error::BuildError;
use crate::graph::{
    Access, CacheMount, Mount, MountKind, Need, Network, Op, RunOp, SecretFile, SecretMount, Security, Sharing,
    SshMount,
};
use crate::progress::StepKind;
use crate::request::Entitlement;

/// Where a step sees the file of a heredoc with an interpreter line (docs/dockerfile.md, A035).
const SCRIPTS: &str = "/dev/pipes";

/// Where a step sees a secret that has no target.
const SECRETS: &str = "/run/secrets";

/// Where a step sees agents that have no target, by number (docs/dockerfile.md, A137).
const AGENTS: &str = "/run/buildkit/ssh_agent";

/// Where SSH clients look for one.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

impl Planner<'_> {
    pub(super) fn run(
        &mut self,
        run: &Run,
        statement: &Statement,
        state: &mut State,
        place: &Place,
    ) -> Result<(), PlanError> {
        if let Some(device) = run.devices.first() {
            return Err(error_at(device.span, "RUN --device is not supported yet"));
        }
        let mut mounts = Vec::new();
        let argv = self.argv(run, state, &mut mounts);
        let mut sockets = Vec::new();
        for mount in &run.mounts {
            mounts.push(self.mount(mount, statement.span, (state, place), &mut sockets)?);
        }
        let pairs = state.variables.pairs().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut env: Vec<_> = pairs.collect();
        if let Some(socket) = sockets.first().filter(|_| state.variables.get(AGENT_VARIABLE).is_none()) {
            env.push((AGENT_VARIABLE.to_owned(), text_of(socket)));
        }
        let history = format!("RUN {} # buildkit", command_text(&argv, state));
        let request = self.stages.request;
        let op = RunOp {
            base: state.root,
            argv,
            env,
            proxies: self.proxies.iter().filter(|(name, _)| state.variables.get(name).is_none()).cloned().collect(),
            user: state.image.config.config.user.clone(),
            cwd: state.directory(),
            mounts,
            network: self.network(run.network, statement.span)?,
            security: self.security(run.security, statement.span)?,
            hosts: request.hosts.clone(),
            dns: request.dns.clone(),
            kept_files: request.kept_files.clone(),
            privileges: request.privileges.clone(),
            volumes: request.volumes.clone(),
            hostname: self.hostname(),
            limits: request.limits.clone(),
            platform: state.platform.clone(),
            clock: self.clock,
        };
        state.root = self.vertex(Op::Run(Box::new(op)), StepKind::Run, statement, state, place);
        state.image.note_layer(history, state.root);
        Ok(())
    }

    fn argv(&self, run: &Run, state: &State, mounts: &mut Vec<Mount>) -> Vec<String> {
        match run.script() {
            Script::Exec(argv) => argv,
            Script::Shell(text) => state.with_shell(&text),
            Script::File { name, content } => {
                let target = format!("{SCRIPTS}/{name}");
                let path = RelPath::clean(target.as_bytes()).unwrap_or_default();
                mounts.push(Mount { target: path, kind: MountKind::Script { content: content.into_bytes() } });
                state.with_shell(&target)
            }
        }
    }

    fn hostname(&self) -> String {
        let given = self.stages.request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME");
        given.cloned().unwrap_or_else(|| "kiln".to_owned())
    }

    /// As in BuildKit, the host's network, its abstract sockets included, needs somebody's consent.
    fn network(&self, asked: NetworkMode, span: Span) -> Result<Network, PlanError> {
        let request = self.stages.request;
        let is_allowed =
            || request.network == Network::Host || request.entitlements.contains(&Entitlement::NetworkHost);
        match asked {
            NetworkMode::Default => Ok(request.network),
            NetworkMode::None => Ok(Network::None),
            NetworkMode::Host if is_allowed() => Ok(Network::Host),
            NetworkMode::Host => {
                Err(error_at(span, "network.host is not allowed: give the build `--allow network.host`"))
            }
        }
    }

    fn security(&self, asked: SecurityMode, span: Span) -> Result<Security, PlanError> {
        match asked {
            SecurityMode::Sandbox => Ok(Security::Sandbox),
            SecurityMode::Insecure if self.stages.request.entitlements.contains(&Entitlement::SecurityInsecure) => {
                Ok(Security::Insecure)
            }
            SecurityMode::Insecure => {
                Err(error_at(span, "security.insecure is not allowed: give the build `--allow security.insecure`"))
            }
        }
    }

    fn mount(
        &mut self,
        mount: &RunMount,
        span: Span,
        (state, place): (&State, &Place),
        sockets: &mut Vec<RelPath>,
    ) -> Result<Mount, PlanError> {
        let escape = self.escape();
        let expand = |word: &Word| expanded(word, &state.variables, escape).map(|expanded| expanded.text);
        match mount.resolve(expand).map_err(unresolved)? {
            dockerfile::Mount::Bind { target, from, source, access } => {
                let (from, _) = self.origin(from.as_deref(), place.stage, span)?;
                let kind = MountKind::Bind { from, source: source_path(source.as_deref()), access: access_of(access) };
                Ok(Mount { target: target_of(&target, state, mount.span)?, kind })
            }
            dockerfile::Mount::Cache { target, id, from, source, sharing, access, owner } => {
                let target = target_of(&target, state, mount.span)?;
                let seed = match from.filter(|from| from != "scratch") {
                    None => None,
                    Some(from) => {
                        let (from, _) = self.origin(Some(&from), place.stage, span)?;
                        Some((from, source_path(source.as_deref())))
                    }
                };
                let id = self.cache_id(id, &target);
                let Ownership { mode, uid, gid } = owner;
                let mode = mode.map_or(0o755, |mode| (mode & 0o7777) as u16);
                let (sharing, access) = (sharing_of(sharing), access_of(access));
                let (uid, gid) = (uid.unwrap_or(0), gid.unwrap_or(0));
                Ok(Mount { target, kind: MountKind::Cache(CacheMount { id, sharing, seed, mode, uid, gid, access }) })
            }
            dockerfile::Mount::Tmpfs { target, size_bytes } => {
                Ok(Mount { target: target_of(&target, state, mount.span)?, kind: MountKind::Tmpfs { size_bytes } })
            }
            dockerfile::Mount::Secret { id, target, variable, need, owner } => {
                secret(SecretWords { id, target, variable, need, owner }, state, mount.span)
            }
            dockerfile::Mount::Ssh { id, target, need, owner } => {
                let target = target.unwrap_or_else(|| format!("{AGENTS}.{}", sockets.len()));
                let target = target_of(&target, state, mount.span)?;
                sockets.push(target.clone());
                let Ownership { mode, uid, gid } = owner;
                let mode = mode.map_or(0o600, |mode| (mode & 0o7777) as u16);
                let file = SecretFile { mode, uid: uid.unwrap_or(0), gid: gid.unwrap_or(0) };
                Ok(Mount { target, kind: MountKind::Ssh(SshMount { id, file, need: need_of(need) }) })
            }
        }
    }

    /// The id of a cache mount: what is given, or its target, in the namespace of the request.
    fn cache_id(&self, id: Option<String>, target: &RelPath) -> String {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| text_of(target));
        match self.stages.request.build_args.get("BUILDKIT_CACHE_MOUNT_NS") {
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{id}"),
            _ => id,
        }
    }
}

struct SecretWords {
    id: String,
    target: Option<String>,
    variable: Option<String>,
    need: mount::Need,
    owner: Ownership,
}

/// A secret is a file unless it is only a variable (docs/dockerfile.md, A136).
fn secret(words: SecretWords, state: &State, span: Span) -> Result<Mount, PlanError> {
    let SecretWords { id, target, variable, need, owner: Ownership { mode, uid, gid } } = words;
    let has_file = target.is_some() || variable.is_none();
    let target = match (&target, has_file) {
        (Some(target), _) => target_of(target, state, span)?,
        (None, true) => target_of(&format!("{SECRETS}/{id}"), state, span)?,
        (None, false) => RelPath::root(),
    };
    let mode = mode.map_or(0o400, |mode| (mode & 0o7777) as u16);
    let file = has_file.then_some(SecretFile { mode, uid: uid.unwrap_or(0), gid: gid.unwrap_or(0) });
    let kind = MountKind::Secret(SecretMount { id, file, env: variable, need: need_of(need) });
    Ok(Mount { target, kind })
}

fn target_of(text: &str, state: &State, span: Span) -> Result<RelPath, PlanError> {
    let target = state.absolute(text, span)?;
    if target.is_root() { Err(error_at(span, format!("invalid mount target {text:?}"))) } else { Ok(target) }
}

fn source_path(source: Option<&str>) -> RelPath {
    RelPath::clean(source.unwrap_or("").as_bytes()).unwrap_or_default()
}

fn access_of(access: mount::Access) -> Access {
    match access {
        mount::Access::ReadOnly => Access::ReadOnly,
        mount::Access::ReadWrite => Access::ReadWrite,
    }
}

fn sharing_of(sharing: mount::Sharing) -> Sharing {
    match sharing {
        mount::Sharing::Shared => Sharing::Shared,
        mount::Sharing::Private => Sharing::Private,
        mount::Sharing::Locked => Sharing::Locked,
    }
}

fn need_of(need: mount::Need) -> Need {
    match need {
        mount::Need::Optional => Need::Optional,
        mount::Need::Required => Need::Required,
    }
}

fn unresolved(error: ResolveError<BuildError>) -> BuildError {
    match error {
        ResolveError::Mount { error, span } => error_at(span, error.to_string()),
        ResolveError::Expand { error, .. } => error,
    }
}

/// `|N A=v ... argv`: the arguments in scope before the command (docs/dockerfile.md, B002).
fn command_text(argv: &[String], state: &State) -> String {
    let value = |name, declared: Option<_>| state.variables.get(name).or(declared).unwrap_or_default();
    let texts: Vec<String> =
        state.arguments.pairs().map(|(name, declared)| format!("{name}={}", value(name, declared))).collect();
    let count = (!texts.is_empty()).then(|| format!("|{}", texts.len()));
    count.into_iter().chain(texts).chain(argv.iter().cloned()).collect::<Vec<_>>().join(" ")
}
