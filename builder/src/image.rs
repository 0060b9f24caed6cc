//! The image's config and history, as BuildKit writes them (features B).
//!
//! A [`StageImage`] grows with the instructions of a stage. It knows of layers only which vertex
//! makes them: [`StageImage::finish`] fills in digests and times when the graph is solved.

pub mod text;

use std::sync::Arc;

use store::oci::{History, ImageConfig};
use store::tree::Timestamp;
use store::{DiffId, Platform};

use crate::edits::Edits;
use crate::graph::{Clock, VertexId};

/// The comment of every entry that a Dockerfile makes.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// The search path of an image that has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A config in the making.
#[derive(Debug, Clone, PartialEq)]
pub struct StageImage {
    /// What the base says, changed by the instructions so far. Its history and layers are the base's.
    pub config: ImageConfig,
    entries: Vec<Entry>,
    cmd: CmdOrigin,
}

/// One instruction in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Shared with all stages that start from this one.
    created_by: Arc<str>,
    layer: Option<VertexId>,
}

/// Where a CMD comes from, which decides what ENTRYPOINT does to it (docs/dockerfile.md, A157).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CmdOrigin {
    Inherited,
    Stage,
}

/// A layer that a vertex made or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeLayer {
    /// Its name.
    pub diff_id: DiffId,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
}

impl StageImage {
    /// Starts from nothing.
    pub fn scratch(platform: &Platform) -> Self {
        let mut config = ImageConfig::empty(platform);
        config.config.working_dir = "/".to_owned();
        Self::new(config)
    }

    /// Starts from an image. A search path is added if it has none (docs/dockerfile.md, A064).
    pub fn new(mut config: ImageConfig) -> Self {
        config.created = None;
        if config.config.env("PATH").is_none() {
            config.config.set_env("PATH", DEFAULT_PATH);
        }
        Self { config, entries: Vec::new(), cmd: CmdOrigin::Inherited }
    }

    /// Starts a stage from another one: its triggers do not carry over, and its CMD is inherited.
    pub fn child(&self) -> Self {
        let mut child = self.clone();
        child.config.config.on_build.clear();
        child.cmd = CmdOrigin::Inherited;
        child
    }

    /// Notes an instruction that changed the config only.
    pub fn note(&mut self, created_by: impl Into<Arc<str>>) {
        self.entries.push(Entry { created_by: created_by.into(), layer: None });
    }

    /// Notes an instruction that makes a layer.
    pub fn note_layer(&mut self, created_by: impl Into<Arc<str>>, layer: VertexId) {
        self.entries.push(Entry { created_by: created_by.into(), layer: Some(layer) });
    }

    /// CMD.
    pub fn set_cmd(&mut self, argv: Vec<String>) {
        self.note(format!("CMD {}", text::quoted_list(&argv)));
        self.config.config.cmd = argv;
        self.config.config.args_escaped = true;
        self.cmd = CmdOrigin::Stage;
    }

    /// ENTRYPOINT; a CMD that the stage did not set itself goes.
    pub fn set_entrypoint(&mut self, argv: Vec<String>) {
        self.note(format!("ENTRYPOINT {}", text::quoted_list(&argv)));
        self.config.config.entrypoint = argv;
        if self.cmd == CmdOrigin::Inherited {
            self.config.config.cmd.clear();
        }
    }

    /// The vertices that make its layers above the base's, lowest first.
    pub fn layers(&self) -> impl Iterator<Item = VertexId> {
        self.entries.iter().filter_map(|entry| entry.layer)
    }

    /// The finished config: edits of the request last, layers and times as they were made.
    pub fn finish(&self, edits: &Edits, made: &dyn Fn(VertexId) -> MadeLayer, clock: Clock) -> ImageConfig {
        let mut config = self.config.clone();
        edits.finish(&mut config.config);
        config.rootfs.diff_ids.extend(self.layers().map(|vertex| made(vertex).diff_id));
        let base = config.history.len();
        config.history.extend(self.entries.iter().map(|entry| entry.history(made, clock)));
        if let Clock::Preserve { epoch: None, now } = clock {
            fill_times(&mut config.history, base, now);
        }
        let of_last = || config.history.last().and_then(|entry| entry.created.clone());
        config.created = clock.written().map(rfc3339).or_else(of_last);
        config
    }
}

impl Entry {
    fn history(&self, made: &dyn Fn(VertexId) -> MadeLayer, clock: Clock) -> History {
        let of_layer = || self.layer.map(|layer| Timestamp::from_secs(made(layer).created_at));
        let created = clock.written().or_else(of_layer);
        History {
            created: created.map(rfc3339),
            created_by: self.created_by.to_string(),
            comment: COMMENT.to_owned(),
            empty_layer: self.layer.is_none(),
            ..History::default()
        }
    }
}

/// Entries without a layer take the time of the new layer before them; those before the first new
/// layer take its time, and without any the time is that of the base, or now.
fn fill_times(history: &mut [History], base: usize, now: Timestamp) {
    let first = history[base..].iter().find_map(|entry| entry.created.clone());
    let last_of_base = history[..base].iter().rev().find_map(|entry| entry.created.clone());
    let mut time = first.or(last_of_base).unwrap_or_else(|| rfc3339(now));
    for entry in &mut history[base..] {
        match &entry.created {
            Some(created) => time.clone_from(created),
            None => entry.created = Some(time.clone()),
        }
    }
}

/// A time as OCI documents have it.
pub fn rfc3339(time: Timestamp) -> String {
    let nanos = i32::try_from(time.nanos).expect("below a billion");
    jiff::Timestamp::new(time.secs, nanos).map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use store::Digest;

    use super::*;

    fn made(vertex: VertexId) -> MadeLayer {
        MadeLayer { diff_id: DiffId(Digest::of(&vertex.0.to_le_bytes())), created_at: 1_000 + i64::from(vertex.0) }
    }

    fn times(config: &ImageConfig) -> Vec<&str> {
        config.history.iter().map(|entry| entry.created.as_deref().unwrap_or("")).collect()
    }

    fn stage() -> StageImage {
        let mut stage = StageImage::scratch(&Platform::new("linux", "amd64", ""));
        stage.note("ENV A=1");
        stage.note_layer("RUN x # buildkit", VertexId(1));
        stage.note("ENV B=1");
        stage.note_layer("WORKDIR /x", VertexId(2));
        stage
    }

    #[test]
    fn every_new_entry_has_the_epoch() {
        let clock = Clock::Epoch(Timestamp::from_secs(315_532_800));
        let config = stage().finish(&Edits::default(), &made, clock);
        assert_eq!(times(&config), ["1980-01-01T00:00:00Z"; 4]);
        assert_eq!(config.created.as_deref(), Some("1980-01-01T00:00:00Z"));
        assert_eq!(config.rootfs.diff_ids, [made(VertexId(1)).diff_id, made(VertexId(2)).diff_id]);
        assert_eq!(
            config.history.iter().map(|entry| entry.empty_layer).collect::<Vec<_>>(),
            [true, false, true, false]
        );
    }

    #[test]
    fn kept_times_are_those_of_the_layers() {
        let clock = Clock::Preserve { epoch: None, now: Timestamp::from_secs(9) };
        let config = stage().finish(&Edits::default(), &made, clock);
        let (one, two) = ("1970-01-01T00:16:41Z", "1970-01-01T00:16:42Z");
        assert_eq!(times(&config), [one, one, one, two]);
        assert_eq!(config.created.as_deref(), Some(two));
    }

    #[test]
    fn entrypoint_drops_only_an_inherited_cmd() {
        let mut base = StageImage::scratch(&Platform::new("linux", "amd64", ""));
        base.set_cmd(vec!["base".into()]);
        let mut child = base.child();
        child.set_entrypoint(vec!["x".into()]);
        assert!(child.config.config.cmd.is_empty());
        let mut child = base.child();
        child.set_cmd(vec!["own".into()]);
        child.set_entrypoint(vec!["x".into()]);
        assert_eq!(child.config.config.cmd, ["own"]);
    }
}
