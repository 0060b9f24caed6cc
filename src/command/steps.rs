//! Steps with what came of them, and why: for `kiln why` and `kiln build --dry-run`.

use builder::build::StepReport;
use builder::record::{StepOutcome, StepRecord};
use serde_json::{Value, json};
use store::Store;

use crate::context::stdout;
use crate::format::table::{Column, Listing, Style as ListStyle};
use crate::format::units::{ago, elapsed, unix_time};
use crate::report::Failure;
use crate::ui::Style;
use crate::ui::title::{reasons, title};

const LISTING: Listing = Listing {
    columns: &[
        Column { field: "Number", heading: "STEP" },
        Column { field: "Outcome", heading: "OUTCOME" },
        Column { field: "Took", heading: "TOOK" },
        Column { field: "Step", heading: "WHAT" },
        Column { field: "Reason", heading: "BECAUSE" },
        Column { field: "Key", heading: "KEY" },
    ],
    shown: 5,
    id: "Key",
};

/// Says what a dry run found out: on standard output, since it is what was asked for.
pub(crate) fn foretell(reports: &[StepReport], style: Style, store: &Store) -> Result<(), Failure> {
    let steps: Vec<StepRecord> = reports.iter().map(StepRecord::from).collect();
    let keyed: Vec<&StepRecord> = steps.iter().filter(|step| step.outcome != StepOutcome::Ready).collect();
    match style {
        Style::Json => list(&keyed, &ListStyle::Json),
        _ => keyed.iter().try_for_each(|step| tell(step, store)),
    }
}

/// Writes steps as rows.
pub(crate) fn list(steps: &[&StepRecord], style: &ListStyle) -> Result<(), Failure> {
    let rows: Vec<Value> = steps.iter().map(|step| row(step)).collect();
    Ok(LISTING.write(&rows, style, &mut stdout())?)
}

/// Writes a step and, below it, what came of it and why.
pub(crate) fn tell(step: &StepRecord, store: &Store) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = stdout();
    writeln!(out, "#{} {}", step.step.id.0 + 1, title(&step.step))?;
    let reasons = step.miss.as_ref().map(reasons).unwrap_or_default();
    let because = reasons.first().map_or_else(String::new, |first| format!(", because {first}"));
    writeln!(out, "    {}{because}", outcome(step, store)?)?;
    for reason in reasons.iter().skip(1) {
        writeln!(out, "      and {reason}")?;
    }
    Ok(())
}

fn outcome(step: &StepRecord, store: &Store) -> Result<String, Failure> {
    let took = elapsed(step.took);
    Ok(match step.outcome {
        StepOutcome::Hit => match step.key.map(|key| store.action_record(key)).transpose()?.flatten() {
            Some(action) => {
                let when = ago(unix_time(action.result.created_at)).to_lowercase();
                format!("reused: it ran with the same inputs {when}, in {}", elapsed(action.result.duration))
            }
            None => "reused: it had run with the same inputs".to_owned(),
        },
        StepOutcome::Built => format!("ran in {took}"),
        StepOutcome::Shared => "reused: another kiln ran it at the same time".to_owned(),
        StepOutcome::Ready => "was there".to_owned(),
        StepOutcome::Failed => format!("failed after {took}"),
        StepOutcome::Cancelled => format!("was stopped after {took}"),
        StepOutcome::WouldRun => "would run".to_owned(),
        StepOutcome::Unknown => "depends on what runs before it".to_owned(),
    })
}

fn row(step: &StepRecord) -> Value {
    json!({
        "Number": (step.step.id.0 + 1).to_string(),
        "Step": title(&step.step),
        "Outcome": step.outcome,
        "Took": elapsed(step.took),
        "Key": step.key.map_or_else(String::new, |key| key.hex()),
        "Reason": step.miss.as_ref().map(reasons).unwrap_or_default().join("; "),
    })
}
