//! COPY and ADD: flags, sources, destination (section A.6).

use std::collections::{BTreeMap, VecDeque};

use super::arguments::Arguments;
use super::error::{Fault, SyntaxError};
use super::flags::{Flags, Takes};
use super::heredoc::Opener;
use super::instruction::{Add, Copy, Files, Heredoc, Source, Word};

pub(super) fn copy(arguments: Arguments<'_>) -> Result<Copy, Fault> {
    const FLAGS: &[(&str, Takes)] = &[
        ("from", Takes::Value),
        ("chown", Takes::Value),
        ("chmod", Takes::Value),
        ("link", Takes::Switch),
        ("parents", Takes::Switch),
        ("exclude", Takes::Values),
    ];
    let (flags, files) = read(arguments, "COPY", FLAGS)?;
    let from = flags.value("from").filter(|word| !word.text.is_empty());
    if let Some(from) = from.as_ref().filter(|from| from.text.contains('$')) {
        return Err(Fault::new(SyntaxError::VariableInFrom, from.span));
    }
    Ok(Copy { from, parents: flags.switch("parents").unwrap_or(false), files })
}

pub(super) fn add(arguments: Arguments<'_>) -> Result<Add, Fault> {
    const FLAGS: &[(&str, Takes)] = &[
        ("chown", Takes::Value),
        ("chmod", Takes::Value),
        ("link", Takes::Switch),
        ("checksum", Takes::Value),
        ("keep-git-dir", Takes::Switch),
        ("unpack", Takes::Switch),
        ("exclude", Takes::Values),
    ];
    let (flags, files) = read(arguments, "ADD", FLAGS)?;
    let checksum = flags.value("checksum").filter(|word| !word.text.is_empty());
    Ok(Add { checksum, keep_git_dir: flags.switch("keep-git-dir"), unpack: flags.switch("unpack"), files })
}

fn read(arguments: Arguments<'_>, keyword: &'static str, known: &[(&str, Takes)]) -> Result<(Flags, Files), Fault> {
    let mut words = arguments.list()?;
    let destination = words.pop().filter(|_| !words.is_empty());
    let destination = destination.ok_or_else(|| arguments.fault(SyntaxError::NoDestination { keyword }))?;
    let is_list = arguments.is_list();
    let flags = arguments.flags.check(known)?;
    if !is_list && Opener::parse(&destination.text).is_some() {
        return Err(Fault::new(SyntaxError::HeredocDestination { keyword }, destination.span));
    }
    let mut heredocs: BTreeMap<String, VecDeque<Heredoc>> = BTreeMap::new();
    for heredoc in arguments.heredocs {
        heredocs.entry(heredoc.name.clone()).or_default().push_back(heredoc);
    }
    let source = |word: Word| if is_list { Ok(Source::Path(word)) } else { source(word, &mut heredocs) };
    let sources = words.into_iter().map(source).collect::<Result<_, _>>()?;
    let value = |name| flags.value(name).filter(|word: &Word| !word.text.is_empty());
    let (chown, chmod) = (value("chown"), value("chmod"));
    let (link, exclude) = (flags.switch("link").unwrap_or(false), flags.values("exclude"));
    Ok((flags, Files { sources, destination, chown, chmod, link, exclude }))
}

/// A path, or the first heredoc of that name that is still there.
fn source(word: Word, heredocs: &mut BTreeMap<String, VecDeque<Heredoc>>) -> Result<Source, Fault> {
    let Some(opener) = Opener::parse(&word.text) else { return Ok(Source::Path(word)) };
    match heredocs.get_mut(&opener.name).and_then(VecDeque::pop_front) {
        Some(heredoc) => Ok(Source::Heredoc(heredoc)),
        None => Err(Fault::new(SyntaxError::Bodiless { name: opener.name }, word.span)),
    }
}
