//! TokenReview: whose token is this?

use coracle_api::status::ApiError;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{text, texts, user_value};
use crate::authn::Authenticator;

/// The `status` of a TokenReview. That a token counts for nothing is an answer, not a failure.
pub(super) async fn of_token(
    authenticator: &Authenticator,
    asked: &Value,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let token = text(asked, "/spec/token");
    if token.is_empty() {
        return Err(ApiError::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let wanted = texts(asked, "/spec/audiences");
    let audiences = if wanted.is_empty() {
        authenticator.api_audiences()
    } else {
        &wanted
    };
    Ok(match authenticator.token(token, audiences, now).await {
        Ok(owner) => {
            json!({"authenticated": true, "user": user_value(&owner.user), "audiences": owner.audiences})
        }
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    })
}
