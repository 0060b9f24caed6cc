//! What scripts are told of a finished build: its id, and the metadata file with buildx's keys.

use std::io::Write;

use serde_json::{Value, json};
use store::Reference;
use store::oci::Descriptor;

use super::finish::Made;
use super::output::Form;
use crate::command::draft::Draft;
use crate::context::{Context, note};
use crate::report::Failure;
use crate::ui::{Style, json};

/// What a script is told: the id, and the metadata file with buildx's keys.
pub(super) struct Told {
    id: String,
    names: Vec<String>,
    metadata: Value,
}

impl Told {
    /// What is known as soon as everything is built.
    pub(super) fn of(made: &Made<'_>) -> Result<Self, Failure> {
        let last = made.built.last().and_then(|built| built.record.file_name()).unwrap_or_default();
        let mut metadata = json!({"buildx.build.ref": format!("kiln/kiln/{}", last.to_string_lossy())});
        let id = match made.built {
            [only] => {
                metadata["containerimage.config.digest"] = json!(only.image);
                only.image.to_string()
            }
            _ => made.document(&Form::default())?.digest.to_string(),
        };
        Ok(Self { id, names: Vec::new(), metadata })
    }

    /// The image was written down, under names.
    pub(super) fn exported(&mut self, descriptor: Descriptor, names: &[Reference]) {
        if descriptor.media_type.is_index() {
            self.id = descriptor.digest.to_string();
        }
        self.metadata["containerimage.digest"] = json!(descriptor.digest);
        self.metadata["containerimage.descriptor"] = json!(descriptor);
        for name in names.iter().map(Reference::to_string).filter(|name| !self.names.contains(name)).collect::<Vec<_>>()
        {
            self.names.push(name);
        }
        if !self.names.is_empty() {
            self.metadata["image.name"] = json!(self.names.join(","));
        }
    }

    /// A registry has the image, perhaps in another form.
    pub(super) fn pushed(&mut self, name: &Reference, pushed: &registry::Pushed, style: Style) {
        self.metadata["containerimage.digest"] = json!(pushed.pinned.digest);
        let descriptor = &mut self.metadata["containerimage.descriptor"];
        descriptor["digest"] = json!(pushed.pinned.digest);
        descriptor["mediaType"] = json!(pushed.media_type);
        descriptor["size"] = json!(pushed.manifest_bytes);
        if style == Style::Json {
            json::write(&json!({"event": "pushed", "name": name.to_string(), "digest": pushed.pinned.digest}));
        }
    }

    /// Tells it, the id last.
    pub(super) fn finish(
        self,
        iidfile: Option<Draft>,
        metadata: Option<Draft>,
        style: Style,
        context: &Context,
    ) -> Result<(), Failure> {
        let Self { id, names, metadata: keys } = self;
        let plain = |place: Draft, text: String| place.fill(|file| Ok(file.write_all(text.as_bytes())?));
        iidfile.map(|place| plain(place, id.clone())).transpose()?;
        metadata.map(|place| plain(place, format!("{keys:#}\n"))).transpose()?;
        match style {
            Style::Quiet => context.print(id)?,
            Style::Json => json::write(
                &json!({"event": "built", "image": id, "digest": keys["containerimage.digest"], "names": names}),
            ),
            Style::Auto | Style::Plain | Style::Tty => {
                let familiar = names.iter().filter_map(|name| Some(name.parse::<Reference>().ok()?.familiar()));
                let words: Vec<String> = std::iter::once(format!("built {id}")).chain(familiar).collect();
                note(words.join(" "));
            }
        }
        Ok(())
    }
}
