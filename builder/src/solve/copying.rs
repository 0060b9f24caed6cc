//! COPY, ADD and WORKDIR: layers without a process.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::action::Part;
use store::compress::{Expansion, decompress};
use store::tree::{Leaf, Metadata, Node, Timestamp};
use store::{Contents, ObjectId, RelPath, Store, Tree};

use super::absent::explain;
use super::step::{Asked, Prepared};
use super::{Inputs, Rootfs, Solved, Solver, Value, at};
use crate::context::{ContextTree, starts_archive};
use crate::copy::merge::{Merge, NewDirectory};
use crate::copy::select::{Filter, Picked, Verdict, select, select_root};
use crate::copy::{self, Accounts, CopyError, Item, Owner, OwnerSpec, Rules};
use crate::error::{BuildError, StepError};
use crate::graph::{Archives, CopyKind, CopyOp, CopySource, Footing, Vertex, VertexId, WorkdirOp};
use crate::ignore::{self, IgnoreFile};
use crate::key::{self, CopyKey};
use crate::pattern::{Glob, Pattern};

/// A tree that files are copied from.
#[derive(Clone)]
pub(super) enum From {
    Rootfs(Arc<Rootfs>),
    Context(Arc<ContextTree>),
}

impl Solver<'_> {
    pub(super) fn copy(&self, copy: &CopyOp, vertex: &Vertex, inputs: &Inputs<'_>) -> Result<Solved, BuildError> {
        let Some(base) = self.rootfs(copy.base, inputs) else { return Ok(Solved::unknown()) };
        let mut froms: BTreeMap<VertexId, From> = BTreeMap::new();
        for id in copy.sources.iter().filter_map(CopySource::from) {
            let from = match &inputs.get(id).value {
                Value::Rootfs(rootfs) => From::Rootfs(rootfs.clone()),
                Value::Context(context) => From::Context(context.clone()),
                Value::Unknown => return Ok(Solved::unknown()),
            };
            froms.insert(id, from);
        }
        let quick = self.quick_parts(copy, &base, &froms).map_err(|error| at(vertex, error))?;
        let operation = if copy.kind == CopyKind::Add { "add" } else { "copy" };
        self.keyed(&Asked { vertex, operation, base: &base, quick }, || {
            self.prepare_copy(copy, vertex, &base, &froms).map_err(|error| at(vertex, error))
        })
    }

    pub(super) fn workdir(&self, op: &WorkdirOp, vertex: &Vertex, inputs: &Inputs<'_>) -> Result<Solved, BuildError> {
        let Some(base) = self.rootfs(op.base, inputs) else { return Ok(Solved::unknown()) };
        let quick = self.quick_workdir(op, &base).map_err(|error| at(vertex, error))?;
        self.keyed(&Asked { vertex, operation: "workdir", base: &base, quick }, || {
            self.prepare_workdir(op, vertex, &base).map_err(|error| at(vertex, error))
        })
    }

    /// Ids of whole trees, and the operation as it stands.
    fn quick_parts(
        &self,
        copy: &CopyOp,
        base: &Arc<Rootfs>,
        froms: &BTreeMap<VertexId, From>,
    ) -> Result<Vec<Part>, StepError> {
        let CopyOp { kind: _, base: _, sources, destination, owner, mode, footing, exclude, archives, times } = copy;
        let mut parts = Vec::new();
        let names = owner.as_ref().is_some_and(OwnerSpec::needs_accounts);
        if *footing == Footing::Base || names {
            parts.push(Part::text("base", base.id(self.store)?.to_string()));
        }
        for source in sources {
            let tree = match source.from().map(|id| &froms[&id]) {
                Some(From::Rootfs(rootfs)) => rootfs.id(self.store)?.to_string(),
                Some(From::Context(context)) => context.tree.id().to_string(),
                None => String::new(),
            };
            parts.push(Part::text("source", format!("{tree} {}", source_text(source))));
        }
        parts.push(key::destination_part(destination));
        parts.extend(owner.as_ref().map(|owner| Part::text("owner", owner.to_string())));
        parts.extend(mode.as_ref().map(|mode| Part::text("mode", mode.to_string())));
        parts.push(key::footing_part(*footing));
        parts.extend(exclude.iter().map(|pattern| Part::text("exclude", pattern)));
        parts.push(Part::text("archives", archives_name(*archives)));
        parts.push(key::times_part(times));
        Ok(parts)
    }

    fn prepare_copy<'w>(
        &'w self,
        copy: &'w CopyOp,
        vertex: &'w Vertex,
        base: &Arc<Rootfs>,
        froms: &BTreeMap<VertexId, From>,
    ) -> Result<Prepared<'w>, StepError> {
        let exclude = excludes(&copy.exclude)?;
        let mut gathered = Gathered { contents: Contents::of_objects(self.store), ..Gathered::default() };
        for (id, from) in froms {
            let (tree, contents) = self.tree_of(from)?;
            gathered.trees.insert(*id, tree);
            gathered.contents = gathered.contents.merge(contents);
        }
        for source in &copy.sources {
            self.gather(source, copy.archives, exclude.as_ref(), froms, &mut gathered).map_err(|error| match source
                .from()
            {
                Some(id) => self.with_others(error, vertex, id, &froms[&id]),
                None => error,
            })?;
        }
        let owner = copy.owner.as_ref().map(|owner| self.owner(owner, base)).transpose()?;
        let rules = Rules { destination: &copy.destination, owner, mode: copy.mode.as_ref(), times: copy.times };
        let below = match copy.footing {
            Footing::Base => base.tree(self.store)?,
            Footing::Nothing => Arc::new(Tree::empty(Timestamp::default())),
        };
        let copied = copy::copy(&below, &gathered.items, &rules)?;
        let parts = key::copy_parts(&CopyKey {
            sources: gathered.picked.iter().map(Picked::id).collect(),
            unpacked: gathered.unpacked(),
            destination: &copy.destination,
            owner,
            mode: copy.mode.as_ref(),
            footing: copy.footing,
            times: copy.times,
            facts: &copied.facts,
        });
        let (picked, contents) = (gathered.picked, gathered.contents);
        Ok(Prepared {
            parts,
            explanations: Box::new(move || {
                picked.iter().map(|picked| Part::files(key::FILES, files_of(picked))).collect()
            }),
            work: Box::new(move || self.layer(vertex, &copied.change, &contents)),
        })
    }

    fn prepare_workdir<'w>(
        &'w self,
        op: &'w WorkdirOp,
        vertex: &'w Vertex,
        base: &Arc<Rootfs>,
    ) -> Result<Prepared<'w>, StepError> {
        // As with USER, a name that nobody has is root until something runs (BuildKit's behaviour).
        let owner = match self.owner(&op.owner, base) {
            Err(StepError::Owner(_)) => Owner::default(),
            other => other?,
        };
        let tree = base.tree(self.store)?;
        let mut merge = Merge::new(&tree);
        let path = merge.resolve(&op.path)?;
        let mtime = op.times.of(op.times.new);
        merge.make_directories(&path, &NewDirectory { mode: 0o755, owner, mtime })?;
        let (change, facts) = merge.finish();
        let parts = key::workdir_parts(&op.path, owner, &op.times, &facts);
        let work = move || self.layer(vertex, &change, &Contents::default());
        Ok(Prepared { parts, explanations: Box::new(Vec::new), work: Box::new(work) })
    }

    fn quick_workdir(&self, op: &WorkdirOp, base: &Arc<Rootfs>) -> Result<Vec<Part>, StepError> {
        let WorkdirOp { base: _, path, owner, times } = op;
        Ok(vec![
            Part::text("base", base.id(self.store)?.to_string()),
            Part::text("directory", path.to_string()),
            Part::text("owner", owner.to_string()),
            key::times_part(times),
        ])
    }

    fn owner(&self, owner: &OwnerSpec, base: &Arc<Rootfs>) -> Result<Owner, StepError> {
        let accounts = if owner.needs_accounts() { base.accounts(self.store)? } else { Accounts::default() };
        Ok(owner.resolve(&accounts)?)
    }

    fn tree_of(&self, from: &From) -> Result<(Arc<Tree>, Contents), StepError> {
        match from {
            From::Rootfs(rootfs) => Ok((rootfs.tree(self.store)?, rootfs.contents(self.store)?)),
            From::Context(context) => Ok((context.tree.clone(), context.contents.clone())),
        }
    }

    fn gather(
        &self,
        source: &CopySource,
        archives: Archives,
        exclude: Option<&Excludes>,
        froms: &BTreeMap<VertexId, From>,
        gathered: &mut Gathered,
    ) -> Result<(), StepError> {
        let filter = exclude.map(|exclude| exclude as &dyn Filter);
        let picks = match source {
            CopySource::Path { from, pattern } => select(&gathered.trees[from], pattern, filter)
                .map_err(|error| explain(error, pattern, &gathered.trees[from], &froms[from]))?,
            CopySource::Fetched { from, name, archive: _ } => {
                select(&gathered.trees[from], &Glob::literal(name), filter)?
            }
            CopySource::WithParents { from, pivot, pattern } => {
                let tree = &gathered.trees[from];
                let picked = with_parents(tree, pivot, pattern, exclude);
                let source = format!("{}/{pattern}", pivot.trim_end_matches('/'));
                vec![picked.map_err(|error| explain(error, &source, tree, &froms[from]))?]
            }
            CopySource::Inline { name, content } => {
                gathered.contents =
                    std::mem::take(&mut gathered.contents).merge(Contents::of_bytes([content.as_slice()]));
                vec![inline(name, content)?]
            }
        };
        for picked in picks {
            let limit = match (archives, source) {
                (Archives::Unpack, CopySource::Path { .. }) => Some(None),
                // Nobody here made it, so that it may be made to fill the disk.
                (_, CopySource::Fetched { archive: Archives::Unpack, .. }) => Some(Some(Expansion::default())),
                _ => None,
            };
            let archive = limit.map(|limit| archive(self.store, &picked, &mut gathered.contents, limit));
            let archive = archive.transpose()?.flatten();
            gathered.items.push(archive.map_or_else(|| Item::Picked(picked.clone()), Item::Archive));
            gathered.picked.push(picked);
        }
        Ok(())
    }
}

/// What the sources of a copy came to.
#[derive(Default)]
struct Gathered {
    trees: BTreeMap<VertexId, Arc<Tree>>,
    contents: Contents,
    picked: Vec<Picked>,
    items: Vec<Item>,
}

impl Gathered {
    fn unpacked(&self) -> Vec<usize> {
        let items = self.items.iter().enumerate();
        items.filter(|(_, item)| matches!(item, Item::Archive(_))).map(|(place, _)| place).collect()
    }
}

/// Reads an archive into a change; `None` for what is none (docs/dockerfile.md, A120: content decides, not the name).
fn archive(
    store: &Store,
    picked: &Picked,
    contents: &mut Contents,
    limit: Option<Expansion>,
) -> Result<Option<store::Change>, StepError> {
    let Node::Leaf(Leaf::File { content, .. }) = &picked.node else { return Ok(None) };
    if !is_archive(contents, *content) {
        return Ok(None);
    }
    let mut plain = decompress(contents.open(*content)?).map_err(StepError::Archive)?;
    if let Some(limit) = limit {
        plain = plain.limit(limit);
    }
    let layer = store.import_layer(plain, None)?;
    *contents = std::mem::take(contents).merge(layer.contents()?);
    Ok(Some(layer.change()?))
}

/// Whether a file is a tar, compressed or not.
pub(super) fn is_archive(contents: &Contents, id: ObjectId) -> bool {
    contents.open(id).is_ok_and(starts_archive)
}

fn inline(name: &str, content: &[u8]) -> Result<Picked, CopyError> {
    let path = RelPath::clean(name.as_bytes()).map_err(|_| CopyError::NotFound(name.to_owned()))?;
    let leaf = Leaf::File { content: ObjectId::of(content), size_bytes: content.len() as u64 };
    let tree = Tree::empty(Timestamp::default());
    Ok(Picked {
        name: path.file_name(),
        path,
        metadata: Metadata::root_owned(0o644, Timestamp::default()),
        node: Node::Leaf(leaf),
        hard_links: tree.hard_links().clone(),
        tree: tree.id(),
    })
}

/// The tree with only what a pattern names, and the directories above that.
fn with_parents(tree: &Tree, pivot: &str, pattern: &str, exclude: Option<&Excludes>) -> Result<Picked, CopyError> {
    let clean = |text: &str| RelPath::clean(text.as_bytes()).map_err(|_| CopyError::NotFound(text.to_owned()));
    let (pivot, wanted) = (clean(pivot)?, clean(pattern)?);
    let matcher = Pattern::parse(wanted.as_bytes()).map_err(|error| CopyError::BadPattern(error.to_string()))?;
    let filter = WithParents { matcher, wanted: wanted.clone(), exclude };
    let picked = select_root(tree, &pivot, Some(&filter))?;
    let is_literal = !crate::pattern::Glob::has_wildcards(pattern.as_bytes());
    if is_literal && !wanted.is_root() && !holds(&picked.node, &wanted) {
        return Err(CopyError::NotFound(format!("/{}", String::from_utf8_lossy(pivot.join_path(&wanted).as_bytes()))));
    }
    Ok(picked)
}

fn holds(node: &Node, path: &RelPath) -> bool {
    path.components()
        .try_fold(node, |node, name| match node {
            Node::Directory(directory) => directory.get(name).map(|entry| &entry.node),
            Node::Leaf(_) => None,
        })
        .is_some()
}

/// `--parents`: what the pattern matches with all below it, and the way there.
struct WithParents<'e> {
    matcher: Pattern,
    wanted: RelPath,
    exclude: Option<&'e Excludes>,
}

impl Filter for WithParents<'_> {
    fn verdict(&self, path: &RelPath) -> Verdict {
        if let Some(verdict @ (Verdict::Skip | Verdict::OnlyIfNotEmpty)) =
            self.exclude.map(|exclude| exclude.verdict(path))
        {
            return verdict;
        }
        let mut at = Some(path.clone());
        while let Some(path) = at.filter(|path| !path.is_root()) {
            if self.matcher.matches(path.as_bytes()) {
                return Verdict::Keep;
            }
            at = path.parent();
        }
        if self.wanted.is_root() { Verdict::Keep } else { Verdict::OnlyIfNotEmpty }
    }
}

/// `--exclude`
struct Excludes(IgnoreFile);

impl Filter for Excludes {
    fn verdict(&self, path: &RelPath) -> Verdict {
        match self.0.matches(path) {
            false => Verdict::Keep,
            true if self.0.may_keep_below(path) => Verdict::OnlyIfNotEmpty,
            true => Verdict::Skip,
        }
    }
}

fn excludes(patterns: &[String]) -> Result<Option<Excludes>, CopyError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let rules = IgnoreFile::from_patterns(patterns.iter().map(String::as_str));
    rules
        .map(|rules| Some(Excludes(rules)))
        .map_err(|error: ignore::IgnoreError| CopyError::BadPattern(error.to_string()))
}

fn source_text(source: &CopySource) -> String {
    match source {
        CopySource::Path { from: _, pattern } => format!("path {pattern}"),
        CopySource::WithParents { from: _, pivot, pattern } => format!("parents {} {pivot}{pattern}", pivot.len()),
        CopySource::Fetched { from: _, name, archive } => format!("fetched {} {name}", archives_name(*archive)),
        CopySource::Inline { name, content } => format!("inline {} {name}", ObjectId::of(content)),
    }
}

fn archives_name(archives: Archives) -> &'static str {
    match archives {
        Archives::Keep => "keep",
        Archives::Unpack => "unpack",
    }
}

/// Every file of a pick by its path, with what tells one state of it from another.
fn files_of(picked: &Picked) -> Vec<(String, String)> {
    let root = picked.name.as_ref().map_or_else(RelPath::root, RelPath::from);
    let mut files = Vec::new();
    list(&root, &picked.metadata, &picked.node, &mut files);
    files
}

fn list(path: &RelPath, metadata: &Metadata, node: &Node, files: &mut Vec<(String, String)>) {
    let id = match node {
        Node::Directory(_) => "directory".to_owned(),
        Node::Leaf(Leaf::File { content, .. }) => content.to_string(),
        Node::Leaf(Leaf::Symlink(target)) => format!("link to {}", store::path::display(target)),
        Node::Leaf(Leaf::Device { .. }) => "device".to_owned(),
        Node::Leaf(Leaf::Fifo) => "pipe".to_owned(),
    };
    let Metadata { mode, uid, gid, .. } = metadata;
    let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    files.push((text, format!("{id} {mode:04o} {uid}:{gid}")));
    if let Node::Directory(directory) = node {
        for (name, entry) in directory.entries() {
            list(&path.join(name), &entry.metadata, &entry.node, files);
        }
    }
}
