//! `kiln images`

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use store::image::ImageRecord;
use store::{ImageId, Reference, Store};

use crate::context::{Context, stdout};
use crate::format::table::{Column, Listing, Style};
use crate::format::units;
use crate::report::{Failure, UsageError};

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only images of this name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
    /// Show those without a name, too
    #[arg(short, long)]
    all: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Print ids whole
    #[arg(long)]
    no_trunc: bool,
    /// Show the digests under which registries have them
    #[arg(long)]
    digests: bool,
    /// dangling=BOOL, reference=PATTERN, label=KEY[=VALUE], before=IMAGE, since=IMAGE
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column { field: "Repository", heading: "REPOSITORY" },
    Column { field: "Tag", heading: "TAG" },
    Column { field: "ID", heading: "IMAGE ID" },
    Column { field: "CreatedSince", heading: "CREATED" },
    Column { field: "Size", heading: "SIZE" },
    Column { field: "Platform", heading: "PLATFORM" },
    Column { field: "Digest", heading: "DIGEST" },
    Column { field: "CreatedAt", heading: "CREATED AT" },
];

const WITH_DIGESTS: &[Column] = &[
    Column { field: "Repository", heading: "REPOSITORY" },
    Column { field: "Tag", heading: "TAG" },
    Column { field: "Digest", heading: "DIGEST" },
    Column { field: "ID", heading: "IMAGE ID" },
    Column { field: "CreatedSince", heading: "CREATED" },
    Column { field: "Size", heading: "SIZE" },
];

/// Lists images, the newest first.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let style = Style::from_flags(args.format.as_deref(), args.quiet)?;
    let filters = Filters::parse(args, &store)?;
    let mut rows = Vec::new();
    for (record, name) in named_images(&store, args.all || filters.dangling == Some(true))? {
        if filters.keep(&record, name.as_ref(), &store)? {
            rows.push(row(&record, name.as_ref(), args.no_trunc));
        }
    }
    if style_is_quiet(&style) {
        rows.dedup_by(|a, b| a["ID"] == b["ID"]);
    }
    let (columns, shown) = match (args.digests, tells_platforms(&rows)) {
        (true, _) => (WITH_DIGESTS, 6),
        (false, true) => (COLUMNS, 6),
        (false, false) => (COLUMNS, 5),
    };
    Listing { columns, shown, id: "ID" }.write(&rows, &style, &mut stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// Each image once for each of its names; those without a name only if asked for.
fn named_images(store: &Store, with_nameless: bool) -> Result<Vec<(ImageRecord, Option<Reference>)>, Failure> {
    let mut names: BTreeMap<ImageId, Vec<Reference>> = BTreeMap::new();
    for (name, target) in store.tags()? {
        for image in store.images_of(&target)? {
            names.entry(image).or_default().push(name.clone());
        }
    }
    let mut images = store.images()?;
    images.sort_by(|a, b| b.received_at.cmp(&a.received_at).then(a.id.cmp(&b.id)));
    let mut rows = Vec::new();
    for record in images {
        match names.remove(&record.id) {
            Some(names) => rows.extend(names.into_iter().map(|name| (record.clone(), Some(name)))),
            None if with_nameless => rows.push((record, None)),
            None => {}
        }
    }
    Ok(rows)
}

fn row(record: &ImageRecord, name: Option<&Reference>, whole: bool) -> Value {
    let received = SystemTime::UNIX_EPOCH + Duration::from_secs(record.received_at.max(0).cast_unsigned());
    let repository = name.map(|name| name.repository().familiar());
    let of_repository =
        |name: &Reference| record.repo_digests.iter().find(|pinned| pinned.repository == *name.repository());
    let digest = name.and_then(of_repository).map(|pinned| pinned.digest.to_string());
    json!({
        "ID": if whole { record.id.to_string() } else { record.id.short() },
        "Repository": repository.as_deref().unwrap_or("<none>"),
        "Tag": name.and_then(Reference::tag).unwrap_or("<none>"),
        "Digest": digest.as_deref().unwrap_or("<none>"),
        "CreatedSince": units::ago(received),
        "CreatedAt": units::timestamp(received),
        "Size": units::size(record.size_bytes),
        "Platform": record.platform.to_string(),
        "VirtualSize": units::size(record.size_bytes),
        "UniqueSize": "N/A",
        "SharedSize": "N/A",
        "Containers": "N/A",
    })
}

/// Whether a name stands for several images, which only their platforms tell apart.
fn tells_platforms(rows: &[Value]) -> bool {
    let name = |row: &Value| (row["Repository"].clone(), row["Tag"].clone());
    let is_named = |row: &&Value| row["Tag"] != "<none>";
    rows.iter().filter(is_named).any(|row| rows.iter().filter(|other| name(other) == name(row)).count() > 1)
}

fn style_is_quiet(style: &Style) -> bool {
    matches!(style, Style::Quiet)
}

/// `--filter` and the name on the command line.
#[derive(Default)]
struct Filters {
    dangling: Option<bool>,
    names: Vec<String>,
    labels: Vec<(String, Option<String>)>,
    before: Option<i64>,
    since: Option<i64>,
}

impl Filters {
    fn parse(args: &Args, store: &Store) -> Result<Self, Failure> {
        let mut filters = Self { names: args.name.iter().cloned().collect(), ..Self::default() };
        for filter in &args.filters {
            let (key, value) = filter
                .split_once('=')
                .ok_or_else(|| UsageError::wrong(format!("invalid filter {filter:?}: KEY=VALUE")))?;
            match key {
                "dangling" => filters.dangling = Some(truth(value)?),
                "reference" => filters.names.push(value.to_owned()),
                "label" => filters.labels.push(match value.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (value.to_owned(), None),
                }),
                "before" => filters.before = Some(received_at(store, value)?),
                "since" => filters.since = Some(received_at(store, value)?),
                other => return Err(UsageError::wrong(format!("invalid filter {other:?}"))),
            }
        }
        Ok(filters)
    }

    fn keep(&self, record: &ImageRecord, name: Option<&Reference>, store: &Store) -> Result<bool, Failure> {
        let fits_name = |pattern: &String| name.is_some_and(|name| fits(name, pattern));
        let plain = self.dangling.is_none_or(|dangling| dangling == name.is_none())
            && (self.names.is_empty() || self.names.iter().any(fits_name))
            && self.before.is_none_or(|time| record.received_at < time)
            && self.since.is_none_or(|time| record.received_at > time);
        if !plain || self.labels.is_empty() {
            return Ok(plain);
        }
        let Some(image) = store.image(record.id)? else { return Ok(false) };
        let labels = image.config.config.labels;
        Ok(self
            .labels
            .iter()
            .all(|(key, value)| labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))))
    }
}

fn truth(text: &str) -> Result<bool, Failure> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(UsageError::wrong(format!("invalid filter dangling={text}: true or false"))),
    }
}

fn received_at(store: &Store, image: &str) -> Result<i64, Failure> {
    let id = store.resolve(image)?;
    Ok(store.image_record(id)?.map_or(0, |record| record.received_at))
}

/// Whether a name is `repository`, `repository:tag`, or fits such a pattern with `*`.
fn fits(name: &Reference, pattern: &str) -> bool {
    let repository = name.repository().familiar();
    let tagged = format!("{repository}:{}", name.tag().unwrap_or_default());
    fits_pattern(pattern.as_bytes(), repository.as_bytes())
        || fits_pattern(pattern.as_bytes(), tagged.as_bytes())
        || pattern
            .parse::<Reference>()
            .is_ok_and(|wanted| pattern.contains(':') && wanted.familiar() == name.familiar())
}

fn fits_pattern(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => {
            (0..=text.len()).take_while(|end| !text[..*end].contains(&b'/')).any(|end| fits_pattern(rest, &text[end..]))
        }
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(first, text)| (*byte == b'?' || byte == first) && fits_pattern(rest, text))
        }
    }
}
