//! Passwords, for those who ask for them: the file of `--basic-auth-file`, which kube-apiserver had until 1.18.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::static_tokens::{TokenFileError, digest, read_lines};
use crate::request::UserInfo;

/// Told of a password that is not the user's, and of a user who is not known.
const WRONG: &str = "invalid username/password combination";

/// What stands for the digest of a password where there is no such user: that of no password which anybody knows, since it is not
/// made of one.
const NOBODYS: [u8; 32] = [0; 32];

/// Users by name, with the digests of their passwords.
pub struct BasicUsers {
    users: HashMap<String, ([u8; 32], UserInfo)>,
}

impl BasicUsers {
    /// Reads a file of `password,user,uid[,"group1,group2"]` lines.
    ///
    /// # Errors
    /// Names the line.
    pub fn parse(contents: &str) -> Result<Self, TokenFileError> {
        let lines = read_lines(contents)?.into_iter();
        Ok(Self {
            users: lines
                .map(|(password, user)| (user.name.clone(), (digest(&password), user)))
                .collect(),
        })
    }

    /// Who a request's `Authorization: Basic` says it is from; None where it says nothing.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Option<Result<UserInfo, &'static str>> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = value.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = STANDARD.decode(encoded.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (name, password) = decoded.split_once(':')?;
        Some(self.user(name, password).ok_or(WRONG))
    }

    /// The same is done for whoever is asked for, known or not: digesting what was said, and comparing it to the end.
    fn user(&self, name: &str, password: &str) -> Option<UserInfo> {
        let (expected, user) = self.expected(name);
        let right = bool::from(expected.ct_eq(&digest(password)));
        user.filter(|_| right).cloned()
    }

    /// What the digest of a password is held against, and who it is if they are the same.
    fn expected(&self, name: &str) -> (&[u8; 32], Option<&UserInfo>) {
        match self.users.get(name) {
            Some((expected, user)) => (expected, Some(user)),
            None => (&NOBODYS, None),
        }
    }
}

impl fmt::Debug for BasicUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicUsers")
            .field("users", &self.users.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_the_password_is_the_user() {
        let users = BasicUsers::parse("s3cret,jane,7,\"a,b\"\n").unwrap();
        let ask = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            users
                .authenticate(&headers)
                .map(|answer| answer.map(|user| (user.name, user.groups.join("+"))))
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let jane = ("jane".to_owned(), "a+b".to_owned());
        assert_eq!(ask(&basic("jane:s3cret")), Some(Ok(jane)));
        assert_eq!(ask(&basic("jane:s3cre")), Some(Err(WRONG)));
        assert_eq!(ask(&basic("joe:s3cret")), Some(Err(WRONG)));
        assert_eq!(ask("Bearer s3cret"), None);
        assert_eq!(ask("Basic ***"), None);
    }

    #[test]
    fn a_user_who_is_not_known_is_compared_like_one_who_is() {
        let users = BasicUsers::parse("s3cret,jane,7\n").unwrap();
        let (expected, user) = users.expected("jane");
        assert_eq!((expected, user.is_some()), (&digest("s3cret"), true));
        let (expected, user) = users.expected("joe");
        assert_eq!((expected.len(), user), (32, None), "as much is compared");
        for password in ["", "s3cret", "joe"] {
            assert_ne!(*expected, digest(password));
            assert_eq!(users.user("joe", password), None);
        }
    }
}
