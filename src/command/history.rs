//! `kiln history`

use std::process::ExitCode;

use serde_json::{Value, json};
use store::oci::ImageConfig;

use crate::context::{Context, stdout};
use crate::format::table::{Column, Listing, Style};
use crate::format::units;
use crate::report::Failure;

/// Show how an image came to be
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: a name, or the beginning of an id
    image: String,
    /// Print sizes and times for people; `--human=false` prints bytes and RFC 3339
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    human: bool,
    /// Print texts whole
    #[arg(long)]
    no_trunc: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column { field: "ID", heading: "IMAGE" },
    Column { field: "CreatedSince", heading: "CREATED" },
    Column { field: "CreatedBy", heading: "CREATED BY" },
    Column { field: "Size", heading: "SIZE" },
    Column { field: "Comment", heading: "COMMENT" },
    Column { field: "CreatedAt", heading: "CREATED AT" },
];

/// Lists the history, the newest entry first.
pub(crate) fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let style = Style::from_flags(args.format.as_deref(), args.quiet)?;
    let id = store.resolve(&args.image)?;
    let image = store.image(id)?.ok_or(store::refs::RefError::MissingImage(id))?;
    let mut sizes = Vec::new();
    for layer in image.layers() {
        sizes.push(store.layer(*layer)?.map_or(0, |layer| layer.size_bytes()));
    }
    let mut rows = rows(args, &image.config, &sizes);
    if let Some(first) = rows.first_mut() {
        first["ID"] = if args.no_trunc { id.to_string() } else { id.short() }.into();
    }
    Listing { columns: COLUMNS, shown: 5, id: "ID" }.write(&rows, &style, &mut stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn rows(args: &Args, config: &ImageConfig, sizes: &[u64]) -> Vec<Value> {
    let mut sizes = sizes.iter();
    let entries = config.history.iter().map(|entry| {
        let bytes = if entry.empty_layer { 0 } else { sizes.next().copied().unwrap_or_default() };
        let created = entry.created.clone().unwrap_or_default();
        let since = units::parse_timestamp(&created).map_or_else(|| "N/A".to_owned(), units::ago);
        json!({
            "ID": "<missing>",
            "CreatedSince": if args.human { since } else { created.clone() },
            "CreatedAt": created,
            "CreatedBy": shorten(&entry.created_by, args.no_trunc),
            "Size": if args.human { units::size(bytes) } else { bytes.to_string() },
            "Comment": entry.comment,
        })
    });
    let mut rows: Vec<Value> = entries.collect();
    rows.reverse();
    rows
}

fn shorten(text: &str, whole: bool) -> String {
    const MOST_CHARACTERS: usize = 45;
    let text = text.replace(['\n', '\t'], " ");
    if whole || text.chars().count() <= MOST_CHARACTERS {
        return text;
    }
    text.chars().take(MOST_CHARACTERS - 1).chain(['…']).collect()
}
