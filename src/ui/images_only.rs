//! What there is to watch in a dry run: images that are brought, and warnings.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use builder::progress::{Event, Progress, StepId, StepKind};

/// Passes on what is about images and about no step; what becomes of the steps is the dry run's result.
pub(crate) struct ImagesOnly<'a> {
    shown: &'a dyn Progress,
    images: Mutex<BTreeSet<StepId>>,
}

impl<'a> ImagesOnly<'a> {
    pub(crate) fn new(shown: &'a dyn Progress) -> Self {
        Self { shown, images: Mutex::default() }
    }

    fn is_about_steps(&self, event: &Event<'_>) -> bool {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Warning(_) | Event::Notice(_) | Event::Resolving { .. } => false,
            Event::Planned { steps } => {
                *images = steps.iter().filter(|step| step.kind == StepKind::Image).map(|step| step.id).collect();
                false
            }
            Event::Started { step }
            | Event::Waiting { step, .. }
            | Event::Missed { step, .. }
            | Event::Output { step, .. }
            | Event::Transfer { step, .. }
            | Event::Finished { step, .. }
            | Event::Failed { step, .. }
            | Event::Cancelled { step } => !images.contains(step),
        }
    }
}

impl Progress for ImagesOnly<'_> {
    fn report(&self, event: Event<'_>) {
        if !self.is_about_steps(&event) {
            self.shown.report(event);
        }
    }
}
