//! Instructions of a Dockerfile applied to the config of an image that exists: `commit --change`.
//!
//! Only those that change the config and nothing else.

use store::Platform;
use store::oci::ImageConfig;

use super::scope::expanded;
use super::stage::State;
use super::{PlanError, error_at, metadata};
use crate::dockerfile::{Escape, Instruction, Statement, parse_trigger};
use crate::graph::VertexId;
use crate::image::StageImage;

/// Applies instructions, one a text, in their order; variables are those of the image.
///
/// # Errors
/// If one cannot be read, or needs a build.
pub fn amend(config: ImageConfig, platform: &Platform, instructions: &[String]) -> Result<ImageConfig, PlanError> {
    let mut state = State::new(StageImage::new(config), VertexId(0), platform.clone());
    for text in instructions {
        // A trigger cannot be given by a trigger, but by a change.
        if let Some((_, trigger)) = text.split_once(' ').filter(|(word, _)| word.eq_ignore_ascii_case("onbuild")) {
            parse(trigger)?;
            state.image.config.config.on_build.push(trigger.trim().to_owned());
            continue;
        }
        let parsed = parse(text)?;
        match parsed.value {
            other @ (Instruction::Add(_) | Instruction::Arg(_) | Instruction::Copy(_) | Instruction::Run(_)) => {
                return Err(error_at(parsed.span, format!("{} is not a valid change command", other.keyword())));
            }
            Instruction::Workdir(path) => {
                let text = expanded(&path, &state.variables, Escape::default())?.text;
                let path = state.absolute(&text, path.span)?;
                state.image.config.config.working_dir = path.to_string();
            }
            other => metadata::apply(&other, &mut state, Escape::default())?,
        }
    }
    Ok(state.image.config)
}

fn parse(text: &str) -> Result<Statement, PlanError> {
    parse_trigger(text).map_err(|mut errors| PlanError::Plan(Box::new(errors.remove(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amended(changes: &[&str]) -> Result<ImageConfig, PlanError> {
        let platform = Platform::new("linux", "amd64", "");
        let mut config = ImageConfig::empty(&platform);
        config.config.env = vec!["PATH=/bin".to_owned(), "A=1".to_owned()];
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        amend(config, &platform, &changes)
    }

    #[test]
    fn changes_in_dockerfile_words() {
        let config = amended(&[
            "CMD [\"x\", \"y\"]",
            "ENTRYPOINT run it",
            "ENV B=${A}2",
            "EXPOSE 80",
            "LABEL a=b",
            "USER u",
            "VOLUME /v",
            "WORKDIR /w",
            "WORKDIR x",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN true",
        ]);
        let config = config.unwrap().config;
        assert_eq!(config.cmd, ["x", "y"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env, ["PATH=/bin", "A=1", "B=12"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("u", "/w/x"));
        assert!(config.exposed_ports.contains("80/tcp") && config.volumes.contains("/v"));
        assert_eq!((config.stop_signal.as_str(), config.on_build), ("SIGINT", vec!["RUN true".to_owned()]));
    }

    #[test]
    fn what_needs_a_build_is_refused() {
        for change in ["RUN true", "COPY a b", "FROM x", "NONSENSE", ""] {
            assert!(amended(&[change]).is_err(), "{change}");
        }
    }
}
