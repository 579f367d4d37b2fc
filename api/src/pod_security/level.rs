//! Levels and versions of the standards, as labels and configuration write them.

use std::fmt;
use std::str::FromStr;

/// How strict a policy is, from nothing asked to everything asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything is allowed.
    Privileged,
    /// What is known to escalate privileges is refused.
    Baseline,
    /// Pods are hardened.
    Restricted,
}

/// A minor version of Kubernetes whose standards count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Version 1 with this minor version.
    Minor(u64),
    /// Whatever is newest.
    Latest,
}

/// A level in one version: what a mode of a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LevelVersion {
    /// How strict.
    pub level: Level,
    /// By whose standards.
    pub version: Version,
}

/// Text that is neither level nor version; says what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(&'static str);

impl LevelVersion {
    /// Everything allowed, by whatever standards.
    pub const PRIVILEGED: Self = Self {
        level: Level::Privileged,
        version: Version::Latest,
    };

    /// Whether both come to the same: versions do not matter where nothing is asked.
    pub fn is_equivalent(self, other: Self) -> bool {
        self == other || (self.level == Level::Privileged && other.level == Level::Privileged)
    }
}

impl FromStr for Level {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err(Unknown("must be one of privileged, baseline, restricted")),
        }
    }
}

impl FromStr for Version {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let unknown = Unknown("must be \"latest\" or \"v1.x\"");
        let minor = text.strip_prefix("v1.").ok_or(unknown)?;
        let canonical = !minor.is_empty()
            && minor.bytes().all(|byte| byte.is_ascii_digit())
            && (minor == "0" || !minor.starts_with('0'));
        if !canonical {
            return Err(unknown);
        }
        minor.parse().map(Self::Minor).map_err(|_| unknown)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minor(minor) => write!(out, "v1.{minor}"),
            Self::Latest => out.write_str("latest"),
        }
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.level, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_one_way_only() {
        let read = |text: &str| text.parse::<Version>().map(|version| version.to_string());
        for text in ["latest", "v1.0", "v1.9", "v1.36", "v1.100"] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "v1",
            "v1.",
            "v1.01",
            "v1.+1",
            "v2.0",
            "1.30",
            "Latest",
            "v1.99999999999999999999",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn levels_are_ordered_by_strictness() {
        assert!(Level::Privileged < Level::Baseline && Level::Baseline < Level::Restricted);
        assert!(Version::Minor(99) < Version::Latest);
        assert!("Baseline".parse::<Level>().is_err());
    }
}
