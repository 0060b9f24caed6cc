//! Which build checks count: the value of `# check=` and of `BUILDKIT_DOCKERFILE_CHECK` (rule A023).

use super::Lint;

/// A choice of build checks. The default is all but the experimental ones, as warnings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    skip: Choice,
    experimental: Choice,
    findings: Findings,
}

/// What a finding means for the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Findings {
    /// It goes on.
    #[default]
    Warn,
    /// It fails, once all checks are made.
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    All,
    These(Vec<String>),
}

impl Default for Choice {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

/// The text chooses nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksError {
    /// A part is no `key=value`, or its key is unknown.
    #[error("invalid check option {0:?}: expected skip=, error= or experimental=")]
    Option(String),
    /// `error` is no truth value.
    #[error("invalid value {0:?} for check option error: expected true or false")]
    Boolean(String),
}

impl Checks {
    /// Reads `skip=A,B;error=true;experimental=all`. Names that no check has are kept and match
    /// nothing, since files are written for newer tools, too.
    pub fn parse(text: &str) -> Result<Self, ChecksError> {
        let mut checks = Self::default();
        for part in text.trim().split_terminator(';') {
            let (key, value) = part.split_once('=').ok_or_else(|| ChecksError::Option(part.to_owned()))?;
            match key.trim() {
                "skip" => checks.skip = Choice::parse(value),
                "experimental" => checks.experimental = Choice::parse(value),
                "error" => checks.findings = Findings::parse(value.trim())?,
                _ => return Err(ChecksError::Option(part.to_owned())),
            }
        }
        Ok(checks)
    }

    /// Whether a check is to be made.
    pub fn want(&self, lint: Lint) -> bool {
        !self.skip.holds(lint) && (!lint.is_experimental() || self.experimental.holds(lint))
    }

    /// What a finding means for the build.
    pub fn findings(&self) -> Findings {
        self.findings
    }
}

impl Choice {
    fn parse(names: &str) -> Self {
        match names.trim() {
            "all" => Self::All,
            names => Self::These(names.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn holds(&self, lint: Lint) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.iter().any(|name| name == lint.name()),
        }
    }
}

impl Findings {
    fn parse(text: &str) -> Result<Self, ChecksError> {
        match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Self::Fail),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Self::Warn),
            _ => Err(ChecksError::Boolean(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a023_checks_are_chosen() {
        let checks = Checks::parse("skip=JSONArgsRecommended, StageNameCasing;error=true").unwrap();
        assert!(!checks.want(Lint::JSONArgsRecommended) && !checks.want(Lint::StageNameCasing));
        assert!(checks.want(Lint::UndefinedVar) && !checks.want(Lint::InvalidDefinitionDescription));
        assert_eq!(checks.findings(), Findings::Fail);
        let checks = Checks::parse("experimental=all;skip=all").unwrap();
        assert!(Lint::ALL.iter().all(|lint| !checks.want(*lint)));
        assert!(
            Checks::parse("experimental=InvalidDefinitionDescription")
                .unwrap()
                .want(Lint::InvalidDefinitionDescription)
        );
        assert_eq!(Checks::parse(""), Ok(Checks::default()));
        for text in ["skip", "skip=a;other=1", "error=maybe"] {
            assert!(Checks::parse(text).is_err(), "{text}");
        }
    }
}
