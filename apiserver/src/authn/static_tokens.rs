//! The tokens of `--token-auth-file`.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::request::UserInfo;

/// Users by the digest of their token.
#[derive(Default)]
pub struct StaticTokens {
    users: HashMap<[u8; 32], UserInfo>,
}

/// A file that cannot be read as `token,user,uid[,"group1,group2"]` lines.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenFileError {
    /// Too few columns.
    #[error(
        "line {line}: the token file must have at least 3 columns (token, user name, user uid), found {columns}"
    )]
    TooFewColumns {
        /// Counted from 1.
        line: usize,
        /// How many there are.
        columns: usize,
    },
    /// A token of no characters would let everybody in.
    #[error("line {line}: empty token")]
    EmptyToken {
        /// Counted from 1.
        line: usize,
    },
    /// A quotation mark that nothing closes.
    #[error("line {line}: quotation mark without its pair")]
    Unquoted {
        /// Counted from 1.
        line: usize,
    },
}

impl StaticTokens {
    /// Reads the file's contents. Blank lines and lines that begin with `#` count for nothing.
    pub fn parse(contents: &str) -> Result<Self, TokenFileError> {
        let lines = read_lines(contents)?.into_iter();
        Ok(Self {
            users: lines.map(|(token, user)| (digest(&token), user)).collect(),
        })
    }

    /// Whose token it is.
    pub fn user(&self, token: &str) -> Option<UserInfo> {
        self.users.get(&digest(token)).cloned()
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokens")
            .field("users", &self.users.len())
            .finish()
    }
}

/// Secrets and whose they are, a line each.
pub(super) fn read_lines(contents: &str) -> Result<Vec<(String, UserInfo)>, TokenFileError> {
    let mut read = Vec::new();
    for (at, text) in contents.lines().enumerate() {
        let line = at + 1;
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let columns = columns(text).ok_or(TokenFileError::Unquoted { line })?;
        let [secret, name, uid, rest @ ..] = &columns[..] else {
            return Err(TokenFileError::TooFewColumns {
                line,
                columns: columns.len(),
            });
        };
        if secret.is_empty() {
            return Err(TokenFileError::EmptyToken { line });
        }
        let groups = rest.first().map(String::as_str).unwrap_or_default();
        let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
        let user = UserInfo {
            name: name.clone(),
            uid: uid.clone(),
            groups: groups.map(str::to_owned).collect(),
            ..UserInfo::default()
        };
        read.push((secret.clone(), user));
    }
    Ok(read)
}

/// What a token or a password is known by. Comparing digests leaks nothing: nobody can steer towards a digest they do not know.
pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// One line of comma-separated values (RFC 4180, without line breaks inside a field).
fn columns(line: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(std::mem::take(&mut field).trim().to_owned()),
            _ => field.push(c),
        }
    }
    out.push(field.trim().to_owned());
    (!quoted).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_users() {
        let file = "# comment\nsecret,admin,1,system:masters\n\nother, jane ,2,\"devs, ops\"\nplain,joe,3\n";
        let tokens = StaticTokens::parse(file).unwrap();
        let shown = |token| {
            tokens
                .user(token)
                .map(|user| (user.name, user.uid, user.groups.join("+")))
        };
        let user =
            |name: &str, uid: &str, groups: &str| Some((name.to_owned(), uid.to_owned(), groups.to_owned()));
        assert_eq!(shown("secret"), user("admin", "1", "system:masters"));
        assert_eq!(shown("other"), user("jane", "2", "devs+ops"));
        assert_eq!(shown("plain"), user("joe", "3", ""));
        assert_eq!(shown("secre"), None);
        assert_eq!(shown(""), None);
    }

    #[test]
    fn faults_are_told_by_line() {
        let fault = |file| StaticTokens::parse(file).err();
        assert_eq!(
            fault("a,b"),
            Some(TokenFileError::TooFewColumns { line: 1, columns: 2 })
        );
        assert_eq!(fault("a,b,c\n,b,c"), Some(TokenFileError::EmptyToken { line: 2 }));
        assert_eq!(fault("a,\"b,c"), Some(TokenFileError::Unquoted { line: 1 }));
    }
}
