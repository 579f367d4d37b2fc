//! Who holds which node port, as it is stored: one key, as upstream's kube-apiserver has it, so that both may work on one
//! store. It is no object that anybody is served, so the table of types does not know it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coracle_api::codec::protobuf;
use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use coracle_store::{Revision, Txn, TxnOutcome};
use prost::Message;
use serde_json::Value;
use tokio::sync::SemaphorePermit;

use super::settle;
use super::{HeldPorts, PortRange};
use crate::registry::services::{Reservation, concern};
use crate::registry::write::txn_error;
use crate::registry::{Registry, Served, read_error};

/// Where it is stored.
pub(crate) const KEY: &str = "/registry/ranges/servicenodeports";

/// A `v1.RangeAllocation`.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeAllocation {
    /// Kept as it is: nothing in it matters here.
    #[prost(bytes = "vec", optional, tag = "1")]
    metadata: Option<Vec<u8>>,
    #[prost(string, tag = "2")]
    range: String,
    /// Written where it is empty too, as Go writes it.
    #[prost(bytes = "vec", optional, tag = "3")]
    data: Option<Vec<u8>>,
}

impl RangeAllocation {
    fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        let why =
            |error: &dyn std::fmt::Display| ApiError::internal(format!("unable to read {KEY}: {error}"));
        if bytes.first() == Some(&b'{') {
            let value: Value = serde_json::from_slice(bytes).map_err(|error| why(&error))?;
            return Ok(Self {
                metadata: None,
                range: value.text("range").to_owned(),
                data: Some(STANDARD.decode(value.text("data")).map_err(|error| why(&error))?),
            });
        }
        let envelope = protobuf::open(bytes).map_err(|error| why(&error))?;
        Self::decode(envelope.message).map_err(|error| why(&error))
    }

    fn write(&self) -> Bytes {
        let mut bytes = protobuf::envelope_head("v1", "RangeAllocation", self.encoded_len());
        bytes.extend(self.encode_to_vec());
        bytes.extend(protobuf::ENVELOPE_TAIL);
        bytes.into()
    }
}

/// What is stored, and since when.
#[derive(Debug)]
pub(in crate::registry::services) struct StoredPorts {
    pub held: HeldPorts,
    metadata: Option<Vec<u8>>,
    revision: Revision,
}

impl StoredPorts {
    /// A transaction that stores this in its place.
    pub(in crate::registry::services) fn replaced(&self, held: &HeldPorts, txn: Txn) -> Txn {
        let allocation = RangeAllocation {
            metadata: self.metadata.clone(),
            range: held.range().to_string(),
            data: Some(held.to_number()),
        };
        txn.when(KEY, self.revision).put(KEY, allocation.write())
    }
}

/// That no other write of this server changes the ports meanwhile: they all change one key, so they go one after another.
/// It is kept until the store has answered.
pub(in crate::registry) type Turn<'a> = Option<SemaphorePermit<'a>>;

impl Registry {
    /// What is held now.
    ///
    /// # Errors
    /// Where the store does not answer, or nobody can read what it has.
    pub(in crate::registry::services) async fn stored_ports(&self) -> Result<StoredPorts, ApiError> {
        let found = self.cache.store().get(KEY.as_bytes(), None).await;
        let own = self.services.port_range();
        let Some(kv) = found.map_err(|error| read_error(&error))?.kv else {
            return Ok(StoredPorts {
                held: HeldPorts::none_of(own),
                metadata: None,
                revision: Revision::ABSENT,
            });
        };
        let allocation = RangeAllocation::read(&kv.value)?;
        let range = match allocation.range.as_str() {
            "" => own,
            range => range.parse::<PortRange>().map_err(ApiError::internal)?,
        };
        Ok(StoredPorts {
            held: HeldPorts::from_number(range, allocation.data.as_deref().unwrap_or_default()),
            metadata: allocation.metadata,
            revision: kv.mod_revision,
        })
    }

    /// Stores what is held in the place of what was read. False where it has changed since.
    ///
    /// # Errors
    /// Where the store does not take it.
    pub(in crate::registry::services) async fn replace_ports(
        &self,
        stored: &StoredPorts,
        held: &HeldPorts,
    ) -> Result<bool, ApiError> {
        let outcome = self.cache.store().txn(stored.replaced(held, Txn::new())).await;
        Ok(matches!(
            outcome.map_err(txn_error)?,
            TxnOutcome::Committed { .. }
        ))
    }

    /// What is written along with a service whose node ports change. Nothing where somebody else has got one meanwhile.
    ///
    /// # Errors
    /// Where it cannot be read what is held.
    pub(in crate::registry) async fn with_ports(
        &self,
        reservation: &Reservation,
        txn: Txn,
    ) -> Result<Option<(Txn, Turn<'_>)>, ApiError> {
        let (taken, freed) = reservation.ports();
        if taken.is_empty() && freed.is_empty() {
            return Ok(Some((txn, None)));
        }
        let turn = self.services.port_turn().await;
        let stored = self.stored_ports().await?;
        let mut held = stored.held.clone();
        let other_range = held.range() != self.services.port_range();
        if taken
            .iter()
            .any(|port| other_range || held.take((*port).into()).is_err())
        {
            return Ok(None);
        }
        freed.iter().for_each(|port| held.release(*port));
        Ok(Some((stored.replaced(&held, txn), turn)))
    }

    /// What is written along with the removal of an object besides: its node ports are free.
    ///
    /// # Errors
    /// Where it cannot be read what is held.
    pub(in crate::registry) async fn without_ports(
        &self,
        served: &Served,
        service: &Value,
        txn: Txn,
    ) -> Result<(Txn, Turn<'_>), ApiError> {
        if !concern(served) {
            return Ok((txn, None));
        }
        let ports = settle::holdings(service);
        if ports.is_empty() {
            return Ok((txn, None));
        }
        let turn = self.services.port_turn().await;
        let stored = self.stored_ports().await?;
        let mut held = stored.held.clone();
        ports.iter().for_each(|port| held.release(*port));
        if held == stored.held {
            return Ok((txn, None));
        }
        Ok((stored.replaced(&held, txn), turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_s_bytes_are_read_and_what_stands_in_them_is_kept() {
        // As a kube-apiserver 1.36 stores 30000 and 30009.
        let metadata = b"\x0a\x00\x12\x00\x1a\x00\x22\x00\x2a\x00\x32\x00\x38\x00\x42\x00";
        let mut message = vec![0x0a, 16];
        message.extend(metadata);
        message.extend(b"\x12\x0b30000-32767\x1a\x02\x02\x01");
        let mut bytes = protobuf::envelope_head("v1", "RangeAllocation", message.len());
        bytes.extend(&message);
        bytes.extend(protobuf::ENVELOPE_TAIL);
        let read = RangeAllocation::read(&bytes).unwrap();
        assert_eq!(read.metadata.as_deref(), Some(&metadata[..]));
        let held = HeldPorts::from_number(
            read.range.parse().unwrap(),
            read.data.as_deref().unwrap_or_default(),
        );
        assert_eq!(held.iter().collect::<Vec<_>>(), [30000, 30009]);
        assert_eq!(read.write(), bytes);
    }

    #[test]
    fn json_is_read_as_well() {
        let json = br#"{"kind":"RangeAllocation","apiVersion":"v1","metadata":{},"range":"30000-32767","data":"AgE="}"#;
        let read = RangeAllocation::read(json).unwrap();
        assert_eq!(
            (read.range.as_str(), read.data.as_deref()),
            ("30000-32767", Some(&[2, 1][..]))
        );
        for bad in [&b"{"[..], b"k8s", br#"{"data":"%"}"#] {
            assert!(RangeAllocation::read(bad).is_err());
        }
    }
}
