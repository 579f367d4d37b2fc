//! Asking the webhook of a definition to convert objects.

use bytes::Bytes;
use coracle_api::custom::conversion::{self, Conversion};
use serde_json::Value;

use super::Webhooks;
use super::call::{PATIENCE, uid};
use super::hook::Target;

impl Webhooks {
    /// The objects in a version, `group/version`, as a definition's webhook makes them; in their order.
    ///
    /// # Errors
    /// In upstream's words, where it cannot be asked or its answer is not taken.
    pub(crate) async fn convert(
        &self,
        conversion: &Conversion,
        wanted: &str,
        objects: &[Value],
    ) -> Result<Vec<Value>, String> {
        let version = conversion
            .review
            .ok_or_else(|| "no supported conversion review versions".to_owned())?;
        let failed = |why: String| conversion::failed(objects, &why);
        let target = Target::read(&conversion.client).map_err(failed)?;
        let uid = uid();
        let review = conversion::review(version, &uid, wanted, objects);
        let body = Bytes::from(review.to_string());
        let answer = self.caller.post(&target, body, Some(PATIENCE)).await;
        conversion::converted(version, &uid, wanted, objects, &answer.map_err(failed)?)
    }
}
