//! The `continue` token of a list that comes in pieces: where the next piece starts, and as of which revision.
//!
//! Written as upstream writes it, so that a token begun on one apiserver can be finished on another over the same etcd.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use serde::{Deserialize, Serialize};

/// A decoded token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// The revision the list began at; `None` for a token handed out with an "expired" answer, which goes on with
    /// whatever is current.
    pub(crate) revision: Option<u64>,
    /// The first key of the next piece, without the resource's prefix.
    pub(crate) start: String,
}

/// Why a token was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ContinuationError {
    /// Not base64 or not JSON.
    #[error("invalid continue token: continue key is not valid: {0}")]
    Malformed(String),
    /// A version of the token that is not known.
    #[error(
        "invalid continue token: continue key is not valid: server does not recognize this encoded version {0}"
    )]
    Version(String),
    /// Revision zero, or a negative one other than -1.
    #[error(
        "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
    )]
    Revision,
    /// A key that would leave the resource's own range.
    #[error(
        "invalid continue token: continue key is not valid: encoded start key empty or out of range (version meta.k8s.io/v1)"
    )]
    Start,
}

const VERSION: &str = "meta.k8s.io/v1";

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
}

impl Continuation {
    /// The token's text.
    pub(crate) fn encode(&self) -> String {
        let rv = self
            .revision
            .map_or(-1, |revision| i64::try_from(revision).unwrap_or(i64::MAX));
        let wire = Wire {
            v: VERSION.to_owned(),
            rv,
            start: self.start.clone(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).expect("strings and a number always encode"))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// One of [`ContinuationError`], whose text is the API's answer.
    pub(crate) fn decode(token: &str) -> Result<Self, ContinuationError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|error| ContinuationError::Malformed(as_go_says(token, &error)))?;
        let malformed = |error: serde_json::Error| ContinuationError::Malformed(error.to_string());
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(malformed)?;
        let wire: Wire = serde_json::from_value(fields.into()).map_err(malformed)?;
        if wire.v != VERSION {
            return Err(ContinuationError::Version(wire.v));
        }
        if wire.start.is_empty() || wire.start.split('/').any(|part| part == "..") {
            return Err(ContinuationError::Start);
        }
        let revision = match wire.rv {
            -1 => None,
            rv => Some(
                u64::try_from(rv)
                    .ok()
                    .filter(|rv| *rv > 0)
                    .ok_or(ContinuationError::Revision)?,
            ),
        };
        Ok(Self {
            revision,
            start: wire.start,
        })
    }
}

/// Where Go's decoder stumbles: at the letter that is none of base64's, or where the last letters are too few.
fn as_go_says(token: &str, error: &DecodeError) -> String {
    let at = match error {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => *at,
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => token.len() - token.len() % 4,
    };
    format!("illegal base64 data at input byte {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_and_forgeries_do_not() {
        for revision in [Some(7), None] {
            let token = Continuation {
                revision,
                start: "default/web\u{0}".to_owned(),
            };
            assert_eq!(Continuation::decode(&token.encode()), Ok(token));
        }
        let forged = |json: &str| Continuation::decode(&URL_SAFE_NO_PAD.encode(json));
        assert!(matches!(
            Continuation::decode("§"),
            Err(ContinuationError::Malformed(_))
        ));
        assert_eq!(
            Continuation::decode("bogus").unwrap_err().to_string(),
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 4"
        );
        assert_eq!(
            forged(r#"{"v":"v9","rv":1}"#).unwrap_err().to_string(),
            "invalid continue token: continue key is not valid: server does not recognize this encoded version v9"
        );
        assert!(matches!(forged("[]"), Err(ContinuationError::Malformed(_))));
        assert_eq!(
            forged(r#"{"v":"v0","rv":1,"start":"a"}"#),
            Err(ContinuationError::Version("v0".to_owned()))
        );
        assert_eq!(
            forged(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
            Err(ContinuationError::Revision)
        );
        assert_eq!(
            forged(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../b"}"#),
            Err(ContinuationError::Start)
        );
    }
}
