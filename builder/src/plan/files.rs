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
        let manner = Manner { kind: CopyKind::Copy, from, parents: copy.parents, archives: Archives::Keep };
        self.files(&copy.files, manner, statement, state, place)
    }

    pub(super) fn add(
        &mut self,
        add: &Add,
        statement: &Statement,
        state: &mut State,
        place: &Place,
    ) -> Result<(), PlanError> {
        if let Some(checksum) = &add.checksum {
            return Err(refused_checksum(add, checksum));
        }
        let archives = if add.unpack == Some(false) { Archives::Keep } else { Archives::Unpack };
        let manner = Manner { kind: CopyKind::Add, from: None, parents: false, archives };
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
        for (path, span) in &words.paths {
            refuse_remote(path, manner.kind, *span)?;
        }
        let (source, origin) = if words.paths.is_empty() {
            (state.root, Origin::Scratch)
        } else {
            self.origin(manner.from, place.stage, statement.span)?
        };
        let op = CopyOp {
            kind: manner.kind,
            base: state.root,
            sources: sources(&words, source, manner.parents),
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

fn sources(words: &Words, from: VertexId, parents: bool) -> Vec<CopySource> {
    let path = |(path, _): &(String, Span)| match parents {
        false => CopySource::Path { from, pattern: path.clone() },
        true => {
            let (pivot, pattern) = path.split_once("/./").unwrap_or(("/", path));
            CopySource::WithParents { from, pivot: pivot.to_owned(), pattern: pattern.to_owned() }
        }
    };
    let inline = |(name, content): &(String, String)| CopySource::Inline {
        name: name.clone(),
        content: content.clone().into_bytes(),
    };
    words.paths.iter().map(path).chain(words.documents.iter().map(inline)).collect()
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
    words.paths.iter().for_each(|(path, _)| text.push_str(&format!(" {path}")));
    words.documents.iter().for_each(|(name, _)| text.push_str(&format!(" <<{name}")));
    format!("{text} {} # buildkit", words.destination)
}

fn refuse_remote(path: &str, kind: CopyKind, span: Span) -> Result<(), PlanError> {
    let (is_url, is_git) = (is_url(path), is_git(path));
    match kind {
        CopyKind::Copy if is_git => Err(error_at(span, "source can't be a git ref for COPY")),
        CopyKind::Copy if is_url => Err(error_at(span, "source can't be a URL for COPY")),
        CopyKind::Add if is_git => Err(error_at(span, "ADD of git repositories is not supported yet")),
        CopyKind::Add if is_url => Err(error_at(span, "ADD of URLs is not supported yet")),
        _ => Ok(()),
    }
}

fn is_url(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

fn is_git(path: &str) -> bool {
    let repository = path.split(['#', '?']).next().unwrap_or(path);
    ["git://", "ssh://", "git@"].iter().any(|start| path.starts_with(start))
        || is_url(path) && repository.trim_end_matches('/').ends_with(".git")
}

/// `--checksum` stands only beside one remote source.
fn refused_checksum(add: &Add, checksum: &Word) -> PlanError {
    let message = match add.files.sources.as_slice() {
        [Source::Path(path)] if is_url(&path.text) || is_git(&path.text) => "ADD --checksum is not supported yet",
        [_] => "checksum requires HTTP(S) or Git sources",
        _ => "checksum can't be specified for multiple sources",
    };
    error_at(checksum.span, message)
}
