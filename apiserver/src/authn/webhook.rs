//! A service elsewhere that says whose a token is (`--authentication-token-webhook-*`), asked by TokenReview.

use std::time::Duration;

use coracle_api::object::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::outbound::{Expiring, Remote};
use crate::request::UserInfo;

/// How many answers are remembered.
const ANSWERS_MAX: usize = 4096;
/// How long a question may take (upstream's `sharedLookupTimeout`).
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks a service whose tokens are.
pub struct TokenWebhook {
    remote: Remote,
    version: String,
    /// The audiences of an answer that names none.
    implied: Vec<String>,
    life: Duration,
    answers: Expiring<[u8; 32], Answer>,
}

/// Whose a token is and for whom it is meant; None where it is nobody's.
type Answer = Option<(UserInfo, Vec<String>)>;

impl TokenWebhook {
    /// Asks `remote` by TokenReviews of a version; answers count for `life`.
    pub(crate) fn new(remote: Remote, version: &str, implied: Vec<String>, life: Duration) -> Self {
        Self {
            remote,
            version: version.to_owned(),
            implied,
            life,
            answers: Expiring::new(ANSWERS_MAX),
        }
    }

    /// Whose a token is, if it is meant for one of the audiences.
    pub(super) async fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Answer, String> {
        let key = digest(token, audiences);
        if let Some(answer) = self.answers.get(&key, now) {
            return Ok(answer);
        }
        let review = json!({
            "kind": "TokenReview", "apiVersion": format!("authentication.k8s.io/{}", self.version),
            "metadata": {"creationTimestamp": null},
            "spec": {"token": token, "audiences": audiences}, "status": {"user": {}},
        });
        let answer = self.remote.ask(&review, PATIENCE).await;
        let answer =
            answer.inspect_err(|error| warn!(error, "the webhook that knows tokens did not answer"))?;
        let answer = read(&answer["status"], audiences, &self.implied)?;
        self.answers.put(key, answer.clone(), self.life, now);
        Ok(answer)
    }
}

/// What an answer means. Errors are not remembered.
fn read(status: &Value, wanted: &[String], implied: &[String]) -> Result<Answer, String> {
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut meant = texts(&status["audiences"]);
    if meant.is_empty() {
        meant = implied.to_vec();
    }
    let audiences: Vec<String> = wanted
        .iter()
        .filter(|wanted| meant.contains(wanted))
        .cloned()
        .collect();
    if audiences.is_empty() {
        return Ok(None);
    }
    if !status.flag("authenticated") {
        let error = status.text("error");
        return if error.is_empty() {
            Ok(None)
        } else {
            Err(error.to_owned())
        };
    }
    let user = &status["user"];
    let extra = user.entries("extra");
    Ok(Some((
        UserInfo {
            name: user.text("username").to_owned(),
            uid: user.text("uid").to_owned(),
            groups: texts(&user["groups"]),
            extra: extra
                .map(|(key, values)| (key.to_owned(), texts(values)))
                .collect(),
        },
        audiences,
    )))
}

/// What an answer is remembered by: nobody who sees it learns the token.
fn digest(token: &str, audiences: &[String]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [token].into_iter().chain(audiences.iter().map(String::as_str)) {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_are_meant() {
        let us = ["us".to_owned()];
        let read = |status: Value| read(&status, &us, &us);
        let user = json!({"username": "jane", "uid": "7", "groups": ["a"], "extra": {"k": ["v"]}});
        let (known, audiences) = read(json!({"authenticated": true, "user": user}))
            .unwrap()
            .unwrap();
        assert_eq!(
            (known.name.as_str(), known.extra["k"].join("")),
            ("jane", "v".to_owned())
        );
        assert_eq!(audiences, us);
        let others = json!({"authenticated": true, "user": user, "audiences": ["them"]});
        assert_eq!(read(others), Ok(None));
        assert_eq!(read(json!({"authenticated": false})), Ok(None));
        assert_eq!(read(json!({"error": "broken"})), Err("broken".to_owned()));
        assert_ne!(digest("a", &["bc".to_owned()]), digest("ab", &["c".to_owned()]));
    }
}
