//! The messages of KMS v2 (`k8s.io/kms/apis/v2`), and the form in which its values are stored
//! (`storage/value/encrypt/envelope/kmsv2/v2/api.proto`), with what may stand in it. Pure.

use std::collections::BTreeMap;

use coracle_api::names;

const SOURCE_MAX_BYTES: usize = 1024;
const KEY_ID_MAX_BYTES: usize = 1024;
const ANNOTATIONS_MAX_BYTES: usize = 32 * 1024;

/// Why a stored value, or an answer of a service, breaks the rules.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("unknown encryptedDEKSourceType: {0}")]
    SourceType(i32),
    #[error("encrypted data is empty")]
    NoData,
    #[error("failed to validate encrypted DEK source: encrypted DEK source is empty")]
    NoSource,
    #[error(
        "failed to validate encrypted DEK source: encrypted DEK source is {0} bytes, which exceeds the max size of \
         {SOURCE_MAX_BYTES}"
    )]
    LongSource(usize),
    #[error("failed to validate key id: {0}")]
    KeyId(#[from] InvalidKeyId),
    #[error("failed to validate annotations: annotations: Invalid value: {0:?}: {1}")]
    Annotation(String, &'static str),
    #[error(
        "failed to validate annotations: total size of annotations is {0}, which exceeds the max size of \
         {ANNOTATIONS_MAX_BYTES}"
    )]
    LongAnnotations(usize),
}

/// Why a key's name is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKeyId {
    #[error("keyID is empty")]
    Empty,
    #[error("keyID is {0} bytes, which exceeds the max size of {KEY_ID_MAX_BYTES}")]
    Long(usize),
}

/// How a value's key follows from the source beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum SourceType {
    /// It is the source.
    AesGcmKey = 0,
    /// It is derived from it, by the first bytes of the value.
    HkdfSha256XnonceAesGcmSeed = 1,
}

/// A value as it is stored.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) encrypted_dek_source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(crate) annotations: BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    pub(crate) encrypted_dek_source_type: i32,
}

impl EncryptedObject {
    pub(crate) fn source_type(&self) -> Result<SourceType, Invalid> {
        match self.encrypted_dek_source_type {
            0 => Ok(SourceType::AesGcmKey),
            1 => Ok(SourceType::HkdfSha256XnonceAesGcmSeed),
            other => Err(Invalid::SourceType(other)),
        }
    }

    /// Whether it is whole.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        self.source_type()?;
        if self.encrypted_data.is_empty() {
            return Err(Invalid::NoData);
        }
        self.check_source()
    }

    /// Whether everything but the data is.
    pub(crate) fn check_source(&self) -> Result<(), Invalid> {
        match self.encrypted_dek_source.len() {
            0 => return Err(Invalid::NoSource),
            long if long > SOURCE_MAX_BYTES => return Err(Invalid::LongSource(long)),
            _ => {}
        }
        check_key_id(&self.key_id)?;
        let mut bytes = 0;
        for (name, value) in &self.annotations {
            if let Some(why) = misnamed(name) {
                return Err(Invalid::Annotation(name.clone(), why));
            }
            bytes += name.len() + value.len();
        }
        if bytes > ANNOTATIONS_MAX_BYTES {
            return Err(Invalid::LongAnnotations(bytes));
        }
        Ok(())
    }
}

fn misnamed(name: &str) -> Option<&'static str> {
    if !names::dns1123_subdomain(name).is_empty() {
        return Some(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
             and end with an alphanumeric character",
        );
    }
    (!name.contains('.')).then_some("should be a domain with at least two segments separated by dots")
}

pub(crate) fn check_key_id(key_id: &str) -> Result<(), InvalidKeyId> {
    match key_id.len() {
        0 => Err(InvalidKeyId::Empty),
        long if long > KEY_ID_MAX_BYTES => Err(InvalidKeyId::Long(long)),
        _ => Ok(()),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusResponse {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(string, tag = "2")]
    pub(crate) healthz: String,
    #[prost(string, tag = "3")]
    pub(crate) key_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
    #[prost(string, tag = "3")]
    pub(crate) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(crate) annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(crate) annotations: BTreeMap<String, Vec<u8>>,
}
