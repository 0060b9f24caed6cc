//! The flags of `kiln build` that say what it builds for.

use builder::request::BuildRequest;
use store::Platform;

use crate::command::wire::default_platforms;
use crate::report::{Failure, UsageError};
use crate::sources::Images;

/// The platforms, or one in parts.
#[derive(Debug, clap::Args)]
pub(super) struct PlatformArgs {
    /// Build for these platforms; several make an index [default: DOCKER_DEFAULT_PLATFORM]
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    platforms: Vec<Platform>,
    /// Build for all platforms that the base images are there for
    #[arg(long, conflicts_with_all = ["platforms", "os", "arch"])]
    all_platforms: bool,
    /// The operating system of the platform
    #[arg(long, value_name = "OS", hide = true)]
    os: Option<String>,
    /// The architecture of the platform
    #[arg(long, value_name = "ARCH", hide = true)]
    arch: Option<String>,
    /// The variant of the platform's architecture
    #[arg(long, value_name = "VARIANT", hide = true, requires = "arch")]
    variant: Option<String>,
}

impl PlatformArgs {
    /// The platforms of a request, each once.
    pub(super) fn of_request(&self, request: &BuildRequest, images: &Images) -> Result<Vec<Option<Platform>>, Failure> {
        if !self.all_platforms {
            return self.each();
        }
        let mut common: Option<Vec<Platform>> = None;
        for base in builder::build::bases(request)? {
            let there = images.platforms(&base)?;
            common = Some(match common {
                None => there,
                Some(before) => before.into_iter().filter(|platform| there.contains(platform)).collect(),
            });
        }
        match common {
            Some(platforms) if !platforms.is_empty() => Ok(platforms.into_iter().map(Some).collect()),
            Some(_) => Err(UsageError::wrong("--all-platforms: the base images have no platform in common")),
            None => Err(UsageError::wrong(
                "--all-platforms: no stage starts from an image that has platforms: name --platform",
            )),
        }
    }

    /// The platforms to build for, each once; `None` is the machine's, or what the base image is.
    pub(super) fn each(&self) -> Result<Vec<Option<Platform>>, Failure> {
        let mut asked: Vec<Platform> = self.platforms.iter().cloned().chain(self.of_parts()?).collect();
        if asked.is_empty() {
            asked = default_platforms()?;
        }
        let mut platforms: Vec<Option<Platform>> = Vec::new();
        for platform in asked.into_iter().map(Some) {
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(if platforms.is_empty() { vec![None] } else { platforms })
    }

    /// `--os`, `--arch` and `--variant`: what is not said is this machine's.
    fn of_parts(&self) -> Result<Option<Platform>, Failure> {
        if self.os.is_none() && self.arch.is_none() {
            return Ok(None);
        }
        if !self.platforms.is_empty() {
            return Err(UsageError::wrong("--os, --arch and --variant are another way to say --platform: give one"));
        }
        let host = Platform::host();
        let os = self.os.as_ref().unwrap_or(&host.os);
        let architecture = self.arch.as_ref().unwrap_or(&host.architecture);
        Ok(Some(match &self.variant {
            Some(variant) => format!("{os}/{architecture}/{variant}").parse()?,
            None => format!("{os}/{architecture}").parse()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: [Option<&str>; 3], expected: Option<&str>) {
        let [os, arch, variant] = flags.map(|flag| flag.map(str::to_owned));
        let args = PlatformArgs { platforms: Vec::new(), all_platforms: false, os, arch, variant };
        let platforms = args.each().unwrap_or_else(|error| panic!("{flags:?}: {error:?}"));
        let host = Platform::host();
        let expected = expected.map(|text| text.replace("HOST", &host.architecture).parse().expect("a platform"));
        assert_eq!(platforms, [expected]);
    }

    /// Rule C064: parts of a platform are a platform, the machine's for what is not said.
    #[test]
    fn a_platform_in_parts() {
        check([None, None, None], None);
        check([Some("linux"), None, None], Some("linux/HOST"));
        check([None, Some("arm64"), None], Some("linux/arm64"));
        check([Some("linux"), Some("arm"), Some("v7")], Some("linux/arm/v7"));
        let both = PlatformArgs {
            platforms: vec![Platform::host()],
            all_platforms: false,
            os: Some("linux".to_owned()),
            arch: None,
            variant: None,
        };
        assert!(both.each().is_err());
    }
}
