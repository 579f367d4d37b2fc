//! The ciphers that hold their own keys: AES-GCM and AES-CBC (`storage/value/encrypt/aes`), secretbox
//! (`storage/value/encrypt/secretbox`), and AES-GCM under keys that are derived anew for every value (`aes_extended_nonce.go`).
//! Pure save for random nonces.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, Nonce};
use cbc::cipher::block_padding::{NoPadding, Pkcs7};
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use crypto_secretbox::XSalsa20Poly1305;
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};

const GCM_NONCE: usize = 12;
const SECRETBOX_NONCE: usize = 24;
const SECRETBOX_TAG: usize = 16;
const BLOCK: usize = 16;
/// Bytes of seed, of what a key is derived by, and of the key.
pub(super) const SEED: usize = 32;

/// Why a value was not encrypted or decrypted, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CipherError {
    /// There is less than the least there can be.
    #[error("the stored data was shorter than the required size")]
    Short,
    /// It was written with another key or at another place, or was tampered with.
    #[error("cipher: message authentication failed")]
    Unauthentic,
    /// The same, as secretbox says it.
    #[error("output array was not large enough for encryption")]
    Unboxed,
    /// No whole number of blocks.
    #[error("the stored data is not a multiple of the block size")]
    Blocks,
    /// The padding is none.
    #[error("invalid PKCS7 data (empty or not padded)")]
    Unpadded,
    /// The padding is broken.
    #[error("invalid padding on input")]
    Padding,
    /// The system has nothing random to give.
    #[error("unable to read sufficient random bytes")]
    Random,
    /// A key of another size.
    #[error("crypto/aes: invalid key size {0}")]
    KeySize(usize),
    /// A seed that is too short.
    #[error("invalid seed length {0} used for key generation")]
    SeedSize(usize),
}

/// A cipher with its key.
pub(super) enum Cipher {
    Gcm(Gcm),
    Cbc(Box<[u8]>),
    Secretbox(Box<XSalsa20Poly1305>),
}

impl Cipher {
    pub(super) fn cbc(key: &[u8]) -> Result<Self, CipherError> {
        match key.len() {
            16 | 24 | 32 => Ok(Self::Cbc(key.into())),
            size => Err(CipherError::KeySize(size)),
        }
    }

    pub(super) fn secretbox(key: &[u8]) -> Result<Self, CipherError> {
        let cipher = XSalsa20Poly1305::new_from_slice(key);
        Ok(Self::Secretbox(Box::new(
            cipher.map_err(|_| CipherError::KeySize(key.len()))?,
        )))
    }

    /// Encrypts a value; `place` is the key it is stored under, which only AES-GCM vouches for.
    pub(super) fn seal(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::Gcm(gcm) => gcm.seal(data, place),
            Self::Cbc(key) => {
                let iv = random::<BLOCK>()?;
                let sealed = match key.len() {
                    16 => cbc_sealed::<cbc::Encryptor<Aes128>>(key, &iv, data),
                    24 => cbc_sealed::<cbc::Encryptor<Aes192>>(key, &iv, data),
                    _ => cbc_sealed::<cbc::Encryptor<Aes256>>(key, &iv, data),
                };
                Ok([&iv[..], &sealed?].concat())
            }
            Self::Secretbox(cipher) => {
                let nonce = random::<SECRETBOX_NONCE>()?;
                let sealed = cipher.encrypt(&nonce.into(), data);
                Ok([&nonce[..], &sealed.map_err(|_| CipherError::Unboxed)?].concat())
            }
        }
    }

    /// Decrypts what [`Cipher::seal`] made.
    pub(super) fn open(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::Gcm(gcm) => gcm.open(data, place),
            Self::Cbc(key) => {
                let (iv, data) = data.split_at_checked(BLOCK).ok_or(CipherError::Short)?;
                if data.len() % BLOCK != 0 {
                    return Err(CipherError::Blocks);
                }
                let opened = match key.len() {
                    16 => cbc_opened::<cbc::Decryptor<Aes128>>(key, iv, data),
                    24 => cbc_opened::<cbc::Decryptor<Aes192>>(key, iv, data),
                    _ => cbc_opened::<cbc::Decryptor<Aes256>>(key, iv, data),
                };
                unpadded(opened?)
            }
            Self::Secretbox(cipher) => {
                let split = data.split_first_chunk::<SECRETBOX_NONCE>();
                let (nonce, data) = split.ok_or(CipherError::Short)?;
                if data.len() < SECRETBOX_TAG {
                    return Err(CipherError::Short);
                }
                let opened = cipher.decrypt(&(*nonce).into(), data);
                opened.map_err(|_| CipherError::Unboxed)
            }
        }
    }
}

fn cbc_sealed<C: KeyIvInit + BlockEncryptMut>(
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<Vec<u8>, CipherError> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| CipherError::KeySize(key.len()))?;
    Ok(cipher.encrypt_padded_vec_mut::<Pkcs7>(data))
}

fn cbc_opened<C: KeyIvInit + BlockDecryptMut>(
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<Vec<u8>, CipherError> {
    let cipher = C::new_from_slices(key, iv).map_err(|_| CipherError::KeySize(key.len()))?;
    cipher
        .decrypt_padded_vec_mut::<NoPadding>(data)
        .map_err(|_| CipherError::Blocks)
}

fn unpadded(mut data: Vec<u8>) -> Result<Vec<u8>, CipherError> {
    let padding = usize::from(*data.last().ok_or(CipherError::Unpadded)?);
    if padding == 0 || padding > data.len() {
        return Err(CipherError::Unpadded);
    }
    let size = data.len() - padding;
    if data[size..].iter().any(|byte| usize::from(*byte) != padding) {
        return Err(CipherError::Padding);
    }
    data.truncate(size);
    Ok(data)
}

/// AES-GCM with a random nonce before each value.
pub(super) struct Gcm(Sized);

enum Sized {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl Gcm {
    pub(super) fn new(key: &[u8]) -> Result<Self, CipherError> {
        let wrong = CipherError::KeySize(key.len());
        let sized = match key.len() {
            16 => Sized::Aes128(Box::new(Aes128Gcm::new_from_slice(key).map_err(|_| wrong)?)),
            24 => Sized::Aes192(Box::new(AesGcm::new_from_slice(key).map_err(|_| wrong)?)),
            32 => Sized::Aes256(Box::new(Aes256Gcm::new_from_slice(key).map_err(|_| wrong)?)),
            _ => return Err(wrong),
        };
        Ok(Self(sized))
    }

    pub(super) fn seal(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, CipherError> {
        let nonce = random::<GCM_NONCE>()?;
        let (at, payload) = (
            &Nonce::<U12>::from(nonce),
            Payload {
                msg: data,
                aad: place,
            },
        );
        let sealed = match &self.0 {
            Sized::Aes128(aes) => aes.encrypt(at, payload),
            Sized::Aes192(aes) => aes.encrypt(at, payload),
            Sized::Aes256(aes) => aes.encrypt(at, payload),
        };
        Ok([&nonce[..], &sealed.map_err(|_| CipherError::Unauthentic)?].concat())
    }

    pub(super) fn open(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (nonce, data) = data.split_first_chunk::<GCM_NONCE>().ok_or(CipherError::Short)?;
        let (at, payload) = (
            &Nonce::<U12>::from(*nonce),
            Payload {
                msg: data,
                aad: place,
            },
        );
        let opened = match &self.0 {
            Sized::Aes128(aes) => aes.decrypt(at, payload),
            Sized::Aes192(aes) => aes.decrypt(at, payload),
            Sized::Aes256(aes) => aes.decrypt(at, payload),
        };
        opened.map_err(|_| CipherError::Unauthentic)
    }
}

/// A seed from which each value's own key is derived, by what stands before the value.
pub(super) struct Seed([u8; SEED]);

impl Seed {
    pub(super) fn new(seed: &[u8]) -> Result<Self, CipherError> {
        let whole = seed.try_into().map_err(|_| CipherError::SeedSize(seed.len()));
        whole.map(Self)
    }

    pub(super) fn seal(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, CipherError> {
        let info = random::<SEED>()?;
        let sealed = self.derived(&info)?.seal(data, place)?;
        Ok([&info[..], &sealed].concat())
    }

    pub(super) fn open(&self, data: &[u8], place: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (info, data) = data.split_at_checked(SEED).ok_or(CipherError::Short)?;
        self.derived(info)?.open(data, place)
    }

    /// HKDF's second half with SHA-256 (RFC 5869, 2.3).
    fn derived(&self, info: &[u8]) -> Result<Gcm, CipherError> {
        let mut key = [0; SEED];
        let info = [info];
        let output = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &self.0)
            .expand(&info, hkdf::HKDF_SHA256)
            .and_then(|output| output.fill(&mut key));
        output.map_err(|_| CipherError::SeedSize(self.0.len()))?;
        Gcm::new(&key)
    }
}

/// Random bytes of the system's.
pub(super) fn random<const N: usize>() -> Result<[u8; N], CipherError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| CipherError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<Cipher> {
        let mut ciphers = vec![Cipher::secretbox(&[7; 32]).unwrap()];
        for size in [16, 24, 32] {
            ciphers.push(Cipher::Gcm(Gcm::new(&vec![7; size]).unwrap()));
            ciphers.push(Cipher::cbc(&vec![7; size]).unwrap());
        }
        ciphers
    }

    proptest! {
        #[test]
        fn what_is_sealed_can_be_opened(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            for cipher in all() {
                let sealed = cipher.seal(&data, b"/registry/a").unwrap();
                prop_assert_eq!(cipher.open(&sealed, b"/registry/a").unwrap(), data.clone());
            }
            let seed = Seed::new(&[9; SEED]).unwrap();
            prop_assert_eq!(seed.open(&seed.seal(&data, b"k").unwrap(), b"k").unwrap(), data);
        }

        #[test]
        fn nothing_makes_a_cipher_panic(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            for cipher in all() {
                let _ = cipher.open(&data, b"");
            }
        }
    }

    #[test]
    fn a_value_that_was_moved_is_not_authentic() {
        let gcm = Gcm::new(&[1; 32]).unwrap();
        let sealed = gcm.seal(b"secret", b"/registry/secrets/a/b").unwrap();
        let moved = gcm.open(&sealed, b"/registry/secrets/other/b");
        assert_eq!(moved, Err(CipherError::Unauthentic));
    }
}
