//! COPY and ADD: from words to an operation.

use store::RelPath;

use super::reach::Origin;
use super::scope::expanded;
use super::stage::{Place, Planner, State};
use super::{PlanError, error_at};
use crate::copy::{Destination, Form, ModeChange, OwnerSpec, Times};
use crate::diagnostic::Span;
use crate::dockerfile::{Add, Copy, Expansion, Files, Heredoc, Source, Statement, Word};
use crate::expand::expand_document;
use crate::graph::{Archives, CopyKind, CopyOp, CopySource, Footing, Op, VertexId};
use crate::progress::StepKind;
use crate::remote::{Checksum, GitDirectory, GitSource, Remote, redacted};

/// The words of a COPY or ADD, expanded.
struct Words {
    paths: Vec<(String, Span)>,
    documents: Vec<(String, String)>,
    destination: String,
    chown: Option<String>,
    chmod: Option<String>,
}

/// What is particular to one of the two instructions.
struct Manner<'m> {
    kind: CopyKind,
    from: Option<&'m str>,
    parents: bool,
    archives: Archives,
    remote: RemoteFlags,
}

/// What ADD says of sources that lie elsewhere.
#[derive(Default)]
struct RemoteFlags {
    checksum: Option<(String, Span)>,
    keep_git_dir: Option<bool>,
    archive: Option<Archives>,
}

impl Planner<'_> {
    pub(super) fn copy(
        &mut self,
        copy: &Copy,
        statement: &Statement,
        state: &mut State,
        place: &Place,
    ) -> Result<(), PlanError> {
        let from = copy.from.as_ref().map(|from| from.text.as_str()).filter(|from| !from.is_empty());
        let (archives, remote) = (Archives::Keep, RemoteFlags::default());
        let manner = Manner { kind: CopyKind::Copy, from, parents: copy.parents, archives, remote };
        self.files(&copy.files, manner, statement, state, place)
    }

    pub(super) fn add(
        &mut self,
        add: &Add,
        statement: &Statement,
        state: &mut State,
        place: &Place,
    ) -> Result<(), PlanError> {
        let checksum = self.checksum(add, state)?;
        let archives = if add.unpack == Some(false) { Archives::Keep } else { Archives::Unpack };
        let unpack = if add.unpack == Some(true) { Archives::Unpack } else { Archives::Keep };
        let remote = RemoteFlags { checksum, keep_git_dir: add.keep_git_dir, archive: Some(unpack) };
        let manner = Manner { kind: CopyKind::Add, from: None, parents: false, archives, remote };
        self.files(&add.files, manner, statement, state, place)
    }

    fn files(
        &mut self,
        files: &Files,
        manner: Manner<'_>,
        statement: &Statement,
        state: &mut State,
        place: &Place,
    ) -> Result<(), PlanError> {
        let words = self.words(files, state)?;
        let remotes =
            words.paths.iter().map(|(path, span)| manner.remote(path, *span)).collect::<Result<Vec<_>, _>>()?;
        let (local, origin) = if remotes.iter().all(Option::is_some) {
            (state.root, Origin::Scratch)
        } else {
            self.origin(manner.from, place.stage, statement.span)?
        };
        let mut sources = Vec::new();
        for ((path, span), remote) in words.paths.iter().zip(&remotes) {
            sources.push(match remote {
                None => local_source(path, local, manner.parents),
                Some(remote) => {
                    let from = self.remote(remote, place.stage, *span);
                    fetched_source(remote, from, manner.remote.archive.unwrap_or(Archives::Keep))
                }
            });
        }
        sources.extend(
            words.documents.iter().map(|(name, content)| CopySource::Inline {
                name: name.clone(),
                content: content.clone().into_bytes(),
            }),
        );
        let op = CopyOp {
            kind: manner.kind,
            base: state.root,
            sources,
            destination: destination(&words.destination, files.destination.span, state)?,
            owner: words.chown.as_deref().map(OwnerSpec::parse),
            mode: mode(&words, files.chmod.as_ref())?,
            footing: if files.link { Footing::Nothing } else { Footing::Base },
            exclude: files.exclude.iter().map(|pattern| pattern.text.clone()).collect(),
            archives: manner.archives,
            times: self.times(&origin),
        };
        let kind = if manner.kind == CopyKind::Add { StepKind::Add } else { StepKind::Copy };
        state.root = self.vertex(Op::Copy(Box::new(op)), kind, statement, state, place);
        state.image.note_layer(history(&words, &manner), state.root);
        Ok(())
    }

    fn words(&self, files: &Files, state: &State) -> Result<Words, PlanError> {
        let expand = |word: &Word| expanded(word, &state.variables, self.escape()).map(|expanded| expanded.text);
        let (mut paths, mut documents) = (Vec::new(), Vec::new());
        for source in &files.sources {
            match source {
                Source::Path(word) => paths.push((expand(word)?, word.span)),
                Source::Heredoc(heredoc) => documents.push((heredoc.name.clone(), document(heredoc, state)?)),
            }
        }
        Ok(Words {
            paths,
            documents,
            destination: expand(&files.destination)?,
            chown: files.chown.as_ref().map(expand).transpose()?.filter(|text| !text.is_empty()),
            chmod: files.chmod.as_ref().map(expand).transpose()?.filter(|text| !text.is_empty()),
        })
    }

    /// Files of the user have the build's time; files of images and stages keep theirs below it.
    fn times(&self, origin: &Origin) -> Times {
        match origin {
            Origin::Directory(_) | Origin::Scratch => self.clock.times_of_context(),
            Origin::Stage(_) | Origin::Image(_) => self.clock.times_of_stage(),
        }
    }
}

fn document(heredoc: &Heredoc, state: &State) -> Result<String, PlanError> {
    let text = heredoc.text();
    match heredoc.expansion {
        Expansion::Literal => Ok(text),
        Expansion::Variables => expand_document(&text, &state.variables)
            .map(|expanded| expanded.text)
            .map_err(|error| error_at(heredoc.body, error.to_string())),
    }
}

fn local_source(path: &str, from: VertexId, parents: bool) -> CopySource {
    match parents {
        false => CopySource::Path { from, pattern: path.to_owned() },
        true => {
            let (pivot, pattern) = path.split_once("/./").unwrap_or(("/", path));
            CopySource::WithParents { from, pivot: pivot.to_owned(), pattern: pattern.to_owned() }
        }
    }
}

/// A file by its name, a repository with all that is in it.
fn fetched_source(remote: &Remote, from: VertexId, archive: Archives) -> CopySource {
    match remote {
        Remote::Url(url) => CopySource::Fetched { from, name: url.name.clone(), archive },
        Remote::Git(_) => CopySource::Path { from, pattern: "/".to_owned() },
    }
}

fn destination(text: &str, span: Span, state: &State) -> Result<Destination, PlanError> {
    let is_directory = matches!(text, "" | ".") || text.ends_with('/') || text.ends_with("/.");
    let path: RelPath = state.absolute(text, span)?;
    Ok(Destination { path, form: if is_directory { Form::Directory } else { Form::Name } })
}

fn mode(words: &Words, word: Option<&Word>) -> Result<Option<ModeChange>, PlanError> {
    let span = word.map_or(Span::default(), |word| word.span);
    let parse = |text: &str| ModeChange::parse(text).map_err(|error| error_at(span, error.to_string()));
    words.chmod.as_deref().map(parse).transpose()
}

/// `COPY [--parents] [--chown=..] [--chmod=..] source... destination # buildkit` (docs/dockerfile.md, B003).
fn history(words: &Words, manner: &Manner<'_>) -> String {
    let mut text = match manner.kind {
        CopyKind::Copy => "COPY".to_owned(),
        CopyKind::Add => "ADD".to_owned(),
    };
    if manner.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("chown", &words.chown), ("chmod", &words.chmod)] {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    words.paths.iter().for_each(|(path, _)| text.push_str(&format!(" {}", redacted(path))));
    words.documents.iter().for_each(|(name, _)| text.push_str(&format!(" <<{name}")));
    format!("{text} {} # buildkit", words.destination)
}

impl Manner<'_> {
    /// What a source names that lies elsewhere; `None` for a path.
    fn remote(&self, path: &str, span: Span) -> Result<Option<Remote>, PlanError> {
        if self.from.is_some() {
            return Ok(None);
        }
        let mut remote = match Remote::parse(path) {
            Ok(None) => return Ok(None),
            Ok(Some(Remote::Url(_))) if self.kind == CopyKind::Copy => {
                return Err(error_at(span, "source can't be a URL for COPY"));
            }
            Ok(Some(Remote::Git(_))) | Err(_) if self.kind == CopyKind::Copy => {
                return Err(error_at(span, "source can't be a git ref for COPY"));
            }
            Ok(Some(remote)) => remote,
            Err(error) => return Err(error_at(span, error.to_string())),
        };
        match &mut remote {
            Remote::Url(url) => {
                let parse = |(text, span): &(String, Span)| {
                    Checksum::parse(text).map_err(|error| error_at(*span, error.to_string()))
                };
                url.checksum = self.remote.checksum.as_ref().map(parse).transpose()?;
            }
            Remote::Git(git) => self.remote.apply(git)?,
        }
        Ok(Some(remote))
    }
}

impl RemoteFlags {
    /// A flag and the URL may say the same, or one of them something.
    fn apply(&self, git: &mut GitSource) -> Result<(), PlanError> {
        if let Some((checksum, span)) = &self.checksum {
            if git.checksum.as_ref().is_some_and(|other| other != checksum) {
                let other = git.checksum.as_deref().unwrap_or_default();
                return Err(error_at(*span, format!("checksum mismatch {checksum:?} != {other:?}")));
            }
            git.checksum = Some(checksum.clone());
        }
        match self.keep_git_dir {
            Some(true) => git.directory = GitDirectory::Keep,
            Some(false) => git.directory = GitDirectory::Drop,
            None => {}
        }
        Ok(())
    }
}

impl Planner<'_> {
    /// `--checksum` stands only beside one remote source.
    fn checksum(&self, add: &Add, state: &State) -> Result<Option<(String, Span)>, PlanError> {
        let Some(word) = &add.checksum else { return Ok(None) };
        let text = expanded(word, &state.variables, self.escape())?.text;
        if text.is_empty() {
            return Ok(None);
        }
        let message = match add.files.sources.as_slice() {
            [Source::Path(path)] => {
                let path = expanded(path, &state.variables, self.escape())?.text;
                match Remote::parse(&path) {
                    Ok(None) => "checksum requires HTTP(S) or Git sources",
                    _ => return Ok(Some((text, word.span))),
                }
            }
            [_] => "checksum requires HTTP(S) or Git sources",
            _ => "checksum can't be specified for multiple sources",
        };
        Err(error_at(word.span, message))
    }
}
