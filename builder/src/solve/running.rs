//! RUN: a root filesystem, a command in it, and what it left as a layer.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use store::action::Part;
use store::capture::{CaptureOptions, Source};
use store::scan::Times;
use store::snapshot::SnapshotRoot;
use store::tree::Node;
use store::{Contents, Layer, Name, RelPath, Temporary, Tree};

use super::bind::{self, write_node};
use super::cache_mount::{self, HeldCache, Seed};
use super::log::StepLog;
use super::step::{Asked, Prepared};
use super::{Inputs, Rootfs, Solved, Solver, Value, at};
use crate::copy::select::{entry_at, resolve};
use crate::error::{BuildError, StepError};
use crate::executor::{Execution, ExecutionMount, Exit, MountSource};
use crate::graph::{
    Access, CacheMount, Clock, Mount, MountKind, Need, Op, RunOp, SecretMount, SshMount, Vertex, VertexId, WorkdirOp,
};
use crate::key;
use crate::missing::Missing;
use crate::progress::{Event, Stream, Wait};
use crate::request::SecretSource;
use crate::ssh::Forward;

/// What mounts need of other vertices: trees, and where their bytes are.
type Trees = BTreeMap<VertexId, Value>;

/// What was mounted for a command, for as long as it runs.
#[derive(Default)]
struct Mounted {
    mounts: Vec<ExecutionMount>,
    env: Vec<(String, String)>,
    caches: Vec<HeldCache>,
    /// Agents that listen.
    agents: Vec<Forward>,
    /// Directories of bind mounts, which go with this.
    temporary: Vec<Temporary>,
    /// Trees that other steps show, too.
    shared: Vec<Arc<Temporary>>,
}

impl Solver<'_> {
    pub(super) fn run(&self, run: &RunOp, vertex: &Vertex, inputs: &Inputs<'_>) -> Result<Solved, BuildError> {
        let Some(base) = self.rootfs(run.base, inputs) else { return Ok(Solved::unknown()) };
        let step = |error: StepError| at(vertex, error);
        let ids = vertex.op.inputs();
        let trees: Trees = ids.into_iter().map(|id| (id, inputs.get(id).value.clone())).collect();
        if trees.values().any(|value| matches!(value, Value::Unknown)) {
            return Ok(Solved::unknown());
        }
        let root = base.id(self.store).map_err(|error| step(error.into()))?;
        let whole = self.whole_binds(run, &trees).map_err(step)?;
        let quick = key::run_parts(run, root, &|index| whole[index].clone());
        self.keyed(&Asked { vertex, operation: "run", base: &base, quick }, || {
            let bound = self.bound(run, &trees).map_err(step)?;
            let parts = key::run_parts(run, root, &|index| bound[index].clone());
            let lineage = self.lineage(run.base, inputs).map_err(step)?;
            Ok(Prepared {
                parts,
                explanations: Box::new(move || vec![Part::files(key::LINEAGE, lineage.clone())]),
                work: Box::new(|| self.execute(run, vertex, &base, &trees)),
            })
        })
    }

    /// What the root filesystem was made by, step for step, so that a miss can say which one left
    /// something else.
    fn lineage(&self, top: VertexId, inputs: &Inputs<'_>) -> Result<BTreeMap<String, String>, StepError> {
        let mut lineage = BTreeMap::new();
        let mut at = Some(top);
        while let Some(id) = at {
            let vertex = self.graph.vertex(id);
            let solution = inputs.get(id);
            let left = match (&solution.made, &solution.value) {
                (Some(made), _) => made.diff_id.to_string(),
                (None, Value::Rootfs(rootfs)) => rootfs.id(self.store)?.to_string(),
                (None, Value::Context(_) | Value::Unknown) => String::new(),
            };
            let text = &vertex.step.text;
            let again = (2..).map(|count| format!("{text} ({count})"));
            let name = std::iter::once(text.clone()).chain(again).find(|name| !lineage.contains_key(name));
            lineage.extend(name.map(|name| (name, left)));
            at = match &vertex.op {
                Op::Run(run) => Some(run.base),
                Op::Copy(copy) => Some(copy.base),
                Op::Workdir(workdir) => Some(workdir.base),
                Op::Scratch | Op::Image(_) | Op::Context(_) | Op::Remote(_) => None,
            };
        }
        Ok(lineage)
    }

    /// What each bind mount shows, as the id of the whole tree and a path in it.
    fn whole_binds(&self, run: &RunOp, trees: &Trees) -> Result<Vec<String>, StepError> {
        let id = |mount: &Mount| match &mount.kind {
            MountKind::Bind { from, source, .. } => {
                let tree = match &trees[from] {
                    Value::Rootfs(rootfs) => rootfs.id(self.store)?,
                    Value::Context(context) => context.tree.id(),
                    Value::Unknown => unreachable!("looked at before"),
                };
                Ok(format!("{tree} {source}"))
            }
            _ => Ok(String::new()),
        };
        run.mounts.iter().map(id).collect()
    }

    /// What each bind mount shows, as the id of exactly that.
    fn bound(&self, run: &RunOp, trees: &Trees) -> Result<Vec<String>, StepError> {
        let id = |mount: &Mount| match &mount.kind {
            MountKind::Bind { from, source, .. } => {
                let (tree, _) = self.tree(&trees[from])?;
                let (_, metadata, node) = find(&tree, source, &trees[from])?;
                Ok(subtree_id(&tree, metadata, node, source))
            }
            _ => Ok(String::new()),
        };
        run.mounts.iter().map(id).collect()
    }

    fn tree(&self, value: &Value) -> Result<(Arc<Tree>, Contents), StepError> {
        match value {
            Value::Rootfs(rootfs) => Ok((rootfs.tree(self.store)?, rootfs.contents(self.store)?)),
            Value::Context(context) => Ok((context.tree.clone(), context.contents.clone())),
            Value::Unknown => unreachable!("looked at before"),
        }
    }

    fn execute(&self, run: &RunOp, vertex: &Vertex, base: &Arc<Rootfs>, trees: &Trees) -> Result<Layer, BuildError> {
        let step = |error: StepError| at(vertex, error);
        let snapshot = self.store.snapshot(base.layers()).map_err(|error| step(error.into()))?;
        let lower = base.tree(self.store).map_err(|error| step(error.into()))?;
        make_kernel_directories(snapshot.root(), &lower).map_err(step)?;
        let mut mounted = self.mounted(run, vertex, trees)?;
        if run.clock.settled().is_some() {
            for cache in &mounted.caches {
                cache.show(self.store, base, &snapshot).map_err(step)?;
            }
        }
        let log = self.directory.log(vertex.step.id).map_err(step)?;
        let execution = Execution {
            root: snapshot.root(),
            argv: &run.argv,
            env: environment(run, std::mem::take(&mut mounted.env)),
            user: &run.user,
            cwd: &run.cwd,
            mounts: std::mem::take(&mut mounted.mounts),
            network: run.network,
            security: run.security,
            hosts: &run.hosts,
            dns: &run.dns,
            kept_files: &run.kept_files,
            privileges: &run.privileges,
            hostname: &run.hostname,
            limits: &run.limits,
            platform: &run.platform,
        };
        let output = |stream: Stream, bytes: &[u8]| {
            log.write(bytes);
            self.progress.report(Event::Output { step: vertex.step.id, stream, bytes });
        };
        let ended = self.executor.execute(&execution, &output, &self.stop).map_err(|error| step(error.into()))?;
        self.note_network(run.network, &ended, &execution.env);
        match ended.exit {
            Exit::Code(0) => {}
            Exit::Cancelled => return Err(BuildError::Cancelled),
            exit => return Err(failed(vertex, run, exit, &log)),
        }
        for cache in &mounted.caches {
            cache.shown(self.store, base).map_err(step)?;
        }
        log.finish().map_err(step)?;
        let options = CaptureOptions { times: times(run.clock), exclude: &ended.stubs, source: Source::Spent };
        let captured = self.store.capture(&snapshot, &lower, &options).map_err(|error| step(error.into()))?;
        let layer = self.layer(vertex, &captured.change, &captured.contents)?;
        if self.something_runs_on(vertex) {
            self.store.adopt(snapshot, &captured, &layer).map_err(|error| step(StepError::Snapshot(error.into())))?;
        }
        Ok(layer)
    }

    /// Whether the root filesystem that a step makes will be needed on disk by another one.
    fn something_runs_on(&self, vertex: &Vertex) -> bool {
        let mut stacked = BTreeSet::from([vertex.step.id.0]);
        self.graph.vertices().skip(vertex.step.id.0 as usize + 1).any(|(id, later)| match &later.op {
            Op::Run(run) => stacked.contains(&run.base.0),
            Op::Workdir(WorkdirOp { base, .. }) if stacked.contains(&base.0) => {
                stacked.insert(id.0);
                false
            }
            Op::Copy(copy) if stacked.contains(&copy.base.0) => {
                stacked.insert(id.0);
                false
            }
            _ => false,
        })
    }

    fn mounted(&self, run: &RunOp, vertex: &Vertex, trees: &Trees) -> Result<Mounted, BuildError> {
        let step = |error: StepError| at(vertex, error);
        let mut mounted = Mounted::default();
        for volume in &run.volumes {
            let source = MountSource::Path(volume.source.clone());
            mounted.mounts.push(ExecutionMount { target: volume.target.clone(), source, access: volume.access });
        }
        for device in &run.privileges.devices {
            let source = MountSource::Device(device.source.clone());
            mounted.mounts.push(ExecutionMount { target: device.target.clone(), source, access: Access::ReadWrite });
        }
        for mount in &run.mounts {
            match &mount.kind {
                MountKind::Bind { from, source, access } => {
                    self.bind(mount, &trees[from], source, *access, &mut mounted).map_err(step)?;
                }
                MountKind::Cache(cache) => {
                    if !self.cache(mount, cache, vertex, trees, &mut mounted).map_err(step)? {
                        return Err(BuildError::Cancelled);
                    }
                }
                MountKind::Tmpfs { size_bytes } => {
                    mounted.add(mount, MountSource::Tmpfs { size_bytes: *size_bytes }, Access::ReadWrite);
                }
                MountKind::Secret(secret) => self.secret(mount, secret, &mut mounted).map_err(step)?,
                MountKind::Ssh(ssh) => self.ssh(mount, ssh, &mut mounted).map_err(step)?,
                MountKind::Script { content } => self.script(mount, content, &mut mounted).map_err(step)?,
            }
        }
        Ok(mounted)
    }

    /// A script is a file on disk: what is mounted from memory cannot be executed.
    fn script(&self, mount: &Mount, content: &[u8], mounted: &mut Mounted) -> Result<(), StepError> {
        let temporary = self.store.temporary()?;
        let path = temporary.path().join("script");
        let failed = |source| StepError::Log { path: path.clone(), source };
        std::fs::write(&path, content).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
        mounted.add(mount, MountSource::Path(path.clone()), Access::ReadOnly);
        mounted.temporary.push(temporary);
        Ok(())
    }

    /// A bind mount shows a copy, which looks like the tree wherever the files come from. Steps that only
    /// read share one; what is written to another is dropped with it.
    fn bind(
        &self,
        mount: &Mount,
        from: &Value,
        source: &RelPath,
        access: Access,
        mounted: &mut Mounted,
    ) -> Result<(), StepError> {
        let (tree, contents) = self.tree(from)?;
        let (_, metadata, node) = find(&tree, source, from)?;
        let write = || -> Result<Temporary, StepError> {
            let temporary = self.store.temporary()?;
            let name = Name::new(*bind::PART).expect("a constant name");
            let directory = bind::open(temporary.path()).map_err(store::StoreError::io("open", temporary.path()))?;
            write_node(&directory, &name, &metadata, &node, &contents)?;
            Ok(temporary)
        };
        let path = match access {
            Access::ReadWrite => {
                let own = write()?;
                let path = bind::part_of(&own);
                mounted.temporary.push(own);
                path
            }
            Access::ReadOnly => {
                let id = subtree_id(&tree, metadata.clone(), node.clone(), source);
                let shared = self.shown.get_or_write(&id, write)?;
                let path = bind::part_of(&shared);
                mounted.shared.push(shared);
                path
            }
        };
        mounted.add(mount, MountSource::Path(path), access);
        Ok(())
    }

    /// `false` if the build was cancelled while the cache was in use.
    fn cache(
        &self,
        mount: &Mount,
        cache: &CacheMount,
        vertex: &Vertex,
        trees: &Trees,
        mounted: &mut Mounted,
    ) -> Result<bool, StepError> {
        let seed = match &cache.seed {
            None => None,
            Some((from, path)) => {
                let (tree, contents) = self.tree(&trees[from])?;
                Some(Seed { tree, contents, path: path.clone() })
            }
        };
        let step = vertex.step.id;
        let waiting = || self.progress.report(Event::Waiting { step, reason: Wait::CacheMount(cache.id.clone()) });
        let Some(held) = cache_mount::hold(self.store, cache, seed, &self.stop, &waiting)? else { return Ok(false) };
        mounted.add(mount, MountSource::Path(held.path().to_owned()), cache.access);
        if cache.access == Access::ReadWrite {
            mounted.caches.push(held);
        }
        Ok(true)
    }

    /// A socket of the step's own in front of the agent: it has the owner and mode that were asked for.
    fn ssh(&self, mount: &Mount, ssh: &SshMount, mounted: &mut Mounted) -> Result<(), StepError> {
        let Some(source) = self.request.ssh.get(&ssh.id) else {
            return match ssh.need {
                Need::Optional => Ok(()),
                Need::Required => Err(StepError::MissingAgent(ssh.id.clone())),
            };
        };
        let temporary = self.store.temporary()?;
        let unreachable = |source| StepError::Agent { id: ssh.id.clone(), source };
        let agent = Forward::start(source, temporary.path(), ssh.file).map_err(unreachable)?;
        mounted.add(mount, MountSource::Path(agent.socket().to_owned()), Access::ReadWrite);
        mounted.agents.push(agent);
        mounted.temporary.push(temporary);
        Ok(())
    }

    fn secret(&self, mount: &Mount, secret: &SecretMount, mounted: &mut Mounted) -> Result<(), StepError> {
        let Some(source) = self.request.secrets.get(&secret.id) else {
            return match secret.need {
                Need::Optional => Ok(()),
                Need::Required => Err(StepError::MissingSecret(secret.id.clone())),
            };
        };
        let bytes = read_secret(&secret.id, source)?;
        if let Some(name) = &secret.env {
            mounted.env.push((name.clone(), String::from_utf8_lossy(&bytes).into_owned()));
        }
        if let Some(file) = secret.file {
            let source = MountSource::Bytes { bytes, mode: file.mode, uid: file.uid, gid: file.gid };
            mounted.add(mount, source, Access::ReadOnly);
        }
        Ok(())
    }
}

impl Mounted {
    fn add(&mut self, mount: &Mount, source: MountSource, access: Access) {
        self.mounts.push(ExecutionMount { target: mount.target.clone(), source, access });
    }
}

/// What a command sees: its variables, then secrets, proxies and the build's clock, unless it has them.
fn environment(run: &RunOp, secrets: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut env = run.env.clone();
    let epoch = run.clock.settled().map(|time| ("SOURCE_DATE_EPOCH".to_owned(), time.secs.to_string()));
    for (name, value) in run.proxies.iter().cloned().chain(epoch) {
        if !env.iter().any(|(other, _)| *other == name) {
            env.push((name, value));
        }
    }
    for (name, value) in secrets {
        env.retain(|(other, _)| *other != name);
        env.push((name, value));
    }
    env
}

/// What becomes of the times of what a command wrote.
fn times(clock: Clock) -> Times {
    match clock {
        Clock::Epoch(epoch) => Times::Clamp(epoch),
        Clock::Exact(time) => Times::Exactly(time),
        Clock::Preserve { .. } => Times::Preserve,
    }
}

fn failed(vertex: &Vertex, run: &RunOp, exit: Exit, log: &StepLog) -> BuildError {
    BuildError::Failed {
        step: Box::new(vertex.step.clone()),
        command: run.argv.join(" "),
        exit,
        last_lines: log.last_lines(),
        log: log.path().to_owned(),
    }
}

fn read_secret(id: &str, source: &SecretSource) -> Result<Vec<u8>, StepError> {
    source.read().map_err(|error| StepError::UnreadableSecret {
        id: id.to_owned(),
        from: match source {
            SecretSource::File(path) => path.display().to_string(),
            SecretSource::Environment(name) => format!("variable {name}"),
        },
        source: error,
    })
}

/// Links in a mount's source are followed inside the tree.
fn find(tree: &Tree, source: &RelPath, from: &Value) -> Result<(RelPath, store::tree::Metadata, Node), StepError> {
    let path = resolve(tree, source)?;
    let missing = || {
        let ignored = if let Value::Context(context) = from { context.ignored.as_ref() } else { None };
        StepError::MountSource(Box::new(Missing::explain(&source.to_string(), tree, ignored)))
    };
    let (metadata, node) = entry_at(tree, &path).ok_or_else(missing)?;
    Ok((path, metadata, node))
}

fn subtree_id(tree: &Tree, metadata: store::tree::Metadata, node: Node, source: &RelPath) -> String {
    let picked = crate::copy::Picked {
        name: source.file_name(),
        path: source.clone(),
        metadata,
        node,
        hard_links: tree.hard_links().clone(),
        tree: tree.id(),
    };
    picked.id().to_string()
}

/// Makes the directories that a command's own kernel file systems are mounted on, where the image
/// has none. They become part of its layer, unlike every other mount point (BuildKit's behaviour).
fn make_kernel_directories(root: &SnapshotRoot, lower: &Tree) -> Result<(), StepError> {
    let directory = match root {
        SnapshotRoot::Overlay { upper, .. } => upper,
        SnapshotRoot::Copy { path } => path,
    };
    for name in ["dev", "proc", "sys"] {
        if lower.get(&RelPath::clean(name.as_bytes()).unwrap_or_default()).is_none() {
            let path = directory.join(name);
            let made = match std::fs::create_dir(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                made => made.and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))),
            };
            made.map_err(|source| StepError::KernelDirectory { name, source })?;
        }
    }
    Ok(())
}
