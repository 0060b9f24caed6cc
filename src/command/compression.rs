//! How layers are compressed on their way out: the words that docker, buildah and kaniko have for it.

use registry::Reuse;
use store::Encoding;

use crate::report::{Failure, UsageError};

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct CompressionArgs {
    /// How layers are compressed where they go: gzip, zstd, uncompressed [default: gzip]
    #[arg(long, alias = "compression", value_name = "FORMAT")]
    compression_format: Option<String>,
    /// How hard: 1 to 9 for gzip, 1 to 22 for zstd
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<String>,
    /// Compress the layers of the base image anew, too
    #[arg(long)]
    force_compression: bool,
}

impl CompressionArgs {
    /// What the flags ask for; `None` if they say nothing.
    pub(crate) fn encoding(&self) -> Result<Option<Encoding>, Failure> {
        let (format, level) = (self.compression_format.as_deref(), self.compression_level.as_deref());
        if format.is_none() && level.is_none() {
            return Ok(None);
        }
        encoding(format, level).map(Some).map_err(UsageError::wrong)
    }

    /// What becomes of layers that came compressed; `None` if the flags say nothing.
    pub(crate) fn reuse(&self) -> Option<Reuse> {
        self.force_compression.then_some(Reuse::OwnOnly)
    }
}

/// An encoding by its name and level.
pub(crate) fn encoding(format: Option<&str>, level: Option<&str>) -> Result<Encoding, String> {
    let level = level.map(str::parse::<u32>).transpose().map_err(|_| "a compression level is a number".to_owned())?;
    match (format, level) {
        (None | Some("gzip"), None) => Ok(Encoding::default()),
        (None | Some("gzip"), Some(level @ 1..=9)) => Ok(Encoding::Gzip(level)),
        (Some("zstd"), None) => Ok(Encoding::Zstd(3)),
        (Some("zstd"), Some(level @ 1..=22)) => Ok(Encoding::Zstd(level.cast_signed())),
        (Some("uncompressed"), None) => Ok(Encoding::Plain),
        (Some(other @ ("estargz" | "zstd:chunked")), _) => Err(format!("compression {other} is not supported yet")),
        (Some(kind @ ("zstd" | "uncompressed")), Some(level)) => {
            Err(format!("compression {kind} has no level {level}"))
        }
        (None | Some("gzip"), Some(level)) => Err(format!("compression gzip has no level {level}")),
        (Some(other), _) => Err(format!("there is no compression {other:?}: uncompressed, gzip, zstd")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Option<&str>, level: Option<&str>, expected: Option<Encoding>) {
        assert_eq!(encoding(format, level).ok(), expected, "{format:?} {level:?}");
    }

    /// Rules B064, C065.
    #[test]
    fn formats_and_levels() {
        check(None, None, Some(Encoding::Gzip(6)));
        check(None, Some("9"), Some(Encoding::Gzip(9)));
        check(Some("gzip"), Some("1"), Some(Encoding::Gzip(1)));
        check(Some("zstd"), None, Some(Encoding::Zstd(3)));
        check(Some("zstd"), Some("22"), Some(Encoding::Zstd(22)));
        check(Some("uncompressed"), None, Some(Encoding::Plain));
        for (format, level) in [("gzip", "0"), ("zstd", "23"), ("uncompressed", "1"), ("gzip", "x"), ("estargz", "1")] {
            check(Some(format), Some(level), None);
        }
        check(Some("lzma"), None, None);
    }
}
