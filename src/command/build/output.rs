//! `--output`: what comes out of a build, as it is typed.
//!
//! The attributes are BuildKit's. One that kiln does not have is refused by its name; one that asks for
//! what kiln does anyway is taken.

use std::collections::BTreeMap;
use std::path::PathBuf;

use registry::{Family, Reuse};
use store::export::Others;
use store::{Encoding, Reference};

use super::annotation::Annotation;
use super::times::Rewriting;
use crate::command::compression;
use crate::report::{Failure, UsageError};

/// One thing to make of the result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Output {
    /// The files, as a directory.
    Local { dest: PathBuf, split: Split, others: Others },
    /// The files, as a tar.
    Tar { dest: Sink, split: Split },
    /// The image, as an archive.
    Archive { kind: Archive, dest: Sink, names: Vec<Reference>, form: Form },
    /// The image, in the store and perhaps at its registries.
    Image { names: Vec<Reference>, push: Push, form: Form },
}

/// Whether the platforms of a build get a directory each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// If there are several.
    IfSeveral,
    /// Always.
    Always,
    /// Never: one is written over the other.
    Never,
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sink {
    Stdout,
    File(PathBuf),
    Directory(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Archive {
    Oci,
    Docker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    No,
    Yes,
    /// To a registry whose certificate is not checked, or which has none.
    Insecurely,
}

/// How an image is written down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    pub(super) family: Family,
    pub(super) encoding: Encoding,
    pub(super) reuse: Reuse,
    pub(super) annotations: Vec<Annotation>,
    pub(super) created: Created,
    /// What `rewrite-timestamp` asks for.
    pub(super) rewriting: Option<Rewriting>,
}

/// Whether the manifest says when the image was made, as its config does (`--created-annotation`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Created {
    #[default]
    Unsaid,
    Said,
}

impl Default for Form {
    fn default() -> Self {
        let (family, reuse) = (Family::Oci, Reuse::default());
        let (annotations, created) = (Vec::new(), Created::default());
        Self { family, encoding: Encoding::default(), reuse, annotations, created, rewriting: None }
    }
}

impl Output {
    /// Reads one `--output`: `type=KIND,KEY=VALUE,…`, a bare path for a directory, or `-` for a tar on standard output.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text == "-" {
            return Ok(Self::Tar { dest: Sink::Stdout, split: Split::IfSeveral });
        }
        let mut attributes = Attributes { text, left: BTreeMap::new() };
        for field in fields(text) {
            match field.split_once('=') {
                Some((key, value)) => drop(attributes.left.insert(key.to_lowercase(), value.to_owned())),
                None if field == text && !field.is_empty() => {
                    return Ok(Self::Local { dest: text.into(), split: Split::IfSeveral, others: Others::Keep });
                }
                None => return Err(attributes.wrong(&format!("{field:?} has no value"))),
            }
        }
        let kind = attributes.take("type").ok_or_else(|| attributes.wrong("it has no type"))?;
        let output = attributes.output(&kind)?;
        match attributes.left.keys().next() {
            Some(key) if ["dst", "destination", "path", "out"].contains(&key.as_str()) => {
                Err(attributes.wrong(&format!("there is no {key}=: the place is dest=")))
            }
            Some(key) => Err(UsageError::Unsupported(format!("--output type={kind},{key}=")).into()),
            None => Ok(output),
        }
    }
}

struct Attributes<'a> {
    text: &'a str,
    left: BTreeMap<String, String>,
}

impl Attributes<'_> {
    fn output(&mut self, kind: &str) -> Result<Output, Failure> {
        match kind {
            "local" => {
                let dest = self.take("dest").filter(|dest| dest != "-");
                let dest = dest.ok_or_else(|| self.wrong("type=local needs a directory: dest="))?.into();
                let others = match self.take("mode").as_deref() {
                    None | Some("copy") => Others::Keep,
                    Some("delete") => Others::Remove,
                    Some(_) => return Err(self.wrong("mode is copy or delete")),
                };
                Ok(Output::Local { dest, split: self.split()?, others })
            }
            "tar" => Ok(Output::Tar { dest: self.file(), split: self.split()? }),
            "oci" => {
                let dest = match (self.flag("tar")?.unwrap_or(true), self.file()) {
                    (true, sink) => sink,
                    (false, Sink::File(path)) => Sink::Directory(path),
                    (false, _) => return Err(self.wrong("tar=false needs a directory: dest=")),
                };
                Ok(Output::Archive { kind: Archive::Oci, dest, names: self.names()?, form: self.form()? })
            }
            "docker" if !self.left.contains_key("dest") => {
                Ok(Output::Image { names: self.names()?, push: Push::No, form: self.form()? })
            }
            "docker" => {
                if self.flag("tar")? == Some(false) {
                    return Err(UsageError::Unsupported("--output type=docker,tar=false".into()).into());
                }
                let dest = self.file();
                Ok(Output::Archive { kind: Archive::Docker, dest, names: self.names()?, form: self.form()? })
            }
            "image" | "registry" => self.image(kind),
            "cacheonly" => Err(UsageError::Unsupported("--output type=cacheonly".into()).into()),
            other => Err(self.wrong(&format!("there is no type {other:?}: local, tar, oci, docker, image, registry"))),
        }
    }

    fn image(&mut self, kind: &str) -> Result<Output, Failure> {
        let pushed = self.flag("push")?.unwrap_or(kind == "registry");
        let push = match (pushed, self.flag("registry.insecure")?.unwrap_or(false)) {
            (false, _) => Push::No,
            (true, false) => Push::Yes,
            (true, true) => Push::Insecurely,
        };
        for (key, done) in [("store", true), ("unpack", false), ("push-by-digest", false), ("name-canonical", false)] {
            if self.flag(key)?.is_some_and(|wanted| wanted != done) {
                return Err(UsageError::Unsupported(format!("--output type={kind},{key}={}", !done)).into());
            }
        }
        Ok(Output::Image { names: self.names()?, push, form: self.form()? })
    }

    fn form(&mut self) -> Result<Form, Failure> {
        let family = match self.flag("oci-mediatypes")? {
            Some(false) => Family::Docker,
            Some(true) | None => Family::Oci,
        };
        let reuse = match self.flag("force-compression")? {
            Some(true) => Reuse::OwnOnly,
            Some(false) | None => Reuse::Received,
        };
        let rewriting = self.flag("rewrite-timestamp")?.map(Rewriting::of);
        let encoding = self.encoding()?;
        let mut annotations = Vec::new();
        let keys: Vec<String> = self.left.keys().filter(|key| key.starts_with("annotation")).cloned().collect();
        for key in keys {
            // What was typed counts for the rest of the key: only the attributes' own names are caseless.
            let value = self.take(&key).unwrap_or_default();
            annotations.extend(Annotation::of_attribute(&self.typed(&key), &value).transpose()?);
        }
        Ok(Form { family, encoding, reuse, annotations, created: Created::default(), rewriting })
    }

    fn encoding(&mut self) -> Result<Encoding, Failure> {
        let (format, level) = (self.take("compression"), self.take("compression-level"));
        compression::encoding(format.as_deref(), level.as_deref()).map_err(|why| self.wrong(&why))
    }

    fn names(&mut self) -> Result<Vec<Reference>, Failure> {
        let names = self.take("name").unwrap_or_default();
        names.split(',').filter(|name| !name.is_empty()).map(|name| Ok(name.parse::<Reference>()?)).collect()
    }

    fn split(&mut self) -> Result<Split, Failure> {
        Ok(match self.flag("platform-split")? {
            None => Split::IfSeveral,
            Some(true) => Split::Always,
            Some(false) => Split::Never,
        })
    }

    fn file(&mut self) -> Sink {
        match self.take("dest").as_deref() {
            None | Some("-" | "") => Sink::Stdout,
            Some(path) => Sink::File(path.into()),
        }
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, Failure> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("" | "true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(self.wrong(&format!("{key} is true or false"))),
        }
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.left.remove(key)
    }

    /// A key as it was typed.
    fn typed(&self, key: &str) -> String {
        let keys = fields(self.text).into_iter().filter_map(|field| Some(field.split_once('=')?.0.to_owned()));
        keys.into_iter().find(|typed| typed.to_lowercase() == key).unwrap_or_default()
    }

    fn wrong(&self, why: &str) -> Failure {
        UsageError::wrong(format!("invalid --output {:?}: {why}", self.text))
    }
}

/// The fields of a line of comma-separated values; quotes keep commas together.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for character in text.chars() {
        match (character, fields.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => fields.push(String::new()),
            (other, Some(last)) => last.push(other),
            (_, None) => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Output {
        Output::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    fn form(text: &str) -> Form {
        match parsed(text) {
            Output::Image { form, .. } | Output::Archive { form, .. } => form,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_short_forms_are_a_directory_and_standard_output() {
        let local = |dest: &str, split, others| Output::Local { dest: dest.into(), split, others };
        assert_eq!(parsed("out"), local("out", Split::IfSeveral, Others::Keep));
        assert_eq!(parsed("type=local,dest=out"), parsed("out"));
        let mirrored = parsed("type=local,dest=out,mode=delete,platform-split=false");
        assert_eq!(mirrored, local("out", Split::Never, Others::Remove));
        for text in ["-", "type=tar", "type=tar,dest=-"] {
            assert_eq!(parsed(text), Output::Tar { dest: Sink::Stdout, split: Split::IfSeveral }, "{text}");
        }
    }

    #[test]
    fn names_pushing_and_places_are_read() {
        let pushed = |text: &str| match parsed(text) {
            Output::Image { names, push, .. } => (names.iter().map(Reference::familiar).collect::<Vec<_>>(), push),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(pushed("type=image"), (vec![], Push::No));
        assert_eq!(pushed("type=docker"), (vec![], Push::No));
        assert_eq!(pushed("type=registry"), (vec![], Push::Yes));
        assert_eq!(pushed("type=image,push=true,registry.insecure=true"), (vec![], Push::Insecurely));
        let two = (vec!["a:latest".to_owned(), "h:5000/b:1".to_owned()], Push::Yes);
        assert_eq!(pushed(r#"type=image,"name=a,h:5000/b:1",push=true"#), two);
        let place = |text: &str| match parsed(text) {
            Output::Archive { kind, dest, .. } => (kind, dest),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(place("type=oci"), (Archive::Oci, Sink::Stdout));
        assert_eq!(place("type=oci,tar=false,dest=d"), (Archive::Oci, Sink::Directory("d".into())));
        assert_eq!(place("type=docker,dest=d.tar"), (Archive::Docker, Sink::File("d.tar".into())));
    }

    #[test]
    fn the_form_of_an_image_is_read() {
        assert_eq!(form("type=image"), Form::default());
        for (text, encoding) in [
            ("compression=uncompressed", Encoding::Plain),
            ("compression-level=9", Encoding::Gzip(9)),
            ("compression=zstd", Encoding::Zstd(3)),
            ("compression=zstd,compression-level=19", Encoding::Zstd(19)),
        ] {
            assert_eq!(form(&format!("type=oci,{text}")).encoding, encoding, "{text}");
        }
        let docker = form("type=image,oci-mediatypes=false,force-compression=true,rewrite-timestamp=true");
        assert_eq!((docker.family, docker.reuse), (Family::Docker, Reuse::OwnOnly));
        let annotated = form("type=image,annotation.Some.Key=b,annotation-index.c=d,annotation[linux/arm64].e=f");
        assert_eq!(annotated.annotations.len(), 3);
        assert!(annotated.annotations.contains(&Annotation::parse("Some.Key=b").unwrap_or_default()[0]));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (text, words) in [
            ("", "has no value"),
            ("dest=x", "it has no type"),
            ("type=x", "there is no type \"x\""),
            ("type=local", "needs a directory"),
            ("type=tar,dst=x", "the place is dest="),
            ("type=tar,nonsense=1", "type=tar,nonsense= is not supported"),
            ("type=image,push-by-digest=true", "push-by-digest=true is not supported"),
            ("type=image,store=false", "store=false is not supported"),
            ("type=image,dangling-name-prefix=x", "dangling-name-prefix= is not supported"),
            ("type=oci,compression=estargz", "estargz is not supported"),
            ("type=oci,compression=lzma", "there is no compression"),
            ("type=oci,compression-level=10", "has no level 10"),
            ("type=oci,tar=maybe", "tar is true or false"),
            ("type=docker,dest=x,tar=false", "tar=false is not supported"),
        ] {
            let Err(Failure::Error(error)) = Output::parse(text) else { panic!("{text}") };
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }
}
