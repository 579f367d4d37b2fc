//! A file tree, and the layer that it becomes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tar::{Builder, EntryType, Header};

use crate::digest;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A folder; what is in it stands at paths of its own.
    Folder,
    /// A file with these bytes.
    File(Vec<u8>),
    /// A symbolic link to this target.
    Link(String),
}

/// What stands at a path, and who may do what with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The thing itself.
    pub content: Content,
    /// Permission bits, with the set-user-id and sticky bits.
    pub mode: u32,
    /// The numbers of the user and the group that own it.
    pub owner: (u64, u64),
}

/// A file tree by paths relative to the root, without a slash at either end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// The same tree with a folder of root's. The folders above it are added where they are missing.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.with(path, Content::Folder, mode)
    }

    /// The same tree with a file of root's.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(path, Content::File(bytes.into()), mode)
    }

    /// The same tree with a symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.with(path, Content::Link(target.to_owned()), 0o777)
    }

    fn with(mut self, path: &str, content: Content, mode: u32) -> Self {
        let owner = (0, 0);
        self.insert(path, Entry { content, mode, owner });
        self
    }

    /// Puts something at a path, in place of what stood there.
    pub fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/');
        for (slash, _) in path.match_indices('/') {
            self.entries.entry(path[..slash].to_owned()).or_insert(Entry {
                content: Content::Folder,
                mode: 0o755,
                owner: (0, 0),
            });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// What stands at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path.trim_matches('/'))
    }

    /// Takes away what is in a lower layer as well.
    pub fn subtract(&mut self, lower: &Self) {
        self.entries
            .retain(|path, entry| lower.entries.get(path) != Some(entry));
    }

    /// The layer as images refer to it.
    ///
    /// # Errors
    /// When a path or a link is too long for the format.
    pub fn pack(&self) -> io::Result<Packed> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            let mut header = header(0, entry.mode);
            header.set_uid(entry.owner.0);
            header.set_gid(entry.owner.1);
            match &entry.content {
                Content::Folder => {
                    header.set_entry_type(EntryType::Directory);
                    tar.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Content::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())?;
                }
                Content::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        let bytes = tar.into_inner()?;
        let digest = digest(&bytes);
        let bytes = bytes.into();
        Ok(Packed { bytes, digest })
    }
}

/// A layer as it lies in an archive. Cheap to clone, for the images that share it.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) digest: String,
}

/// A header that knows no time.
pub(crate) fn header(size: usize, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_holds_every_folder_before_what_is_in_it() {
        let layer = Layer::default()
            .file("usr/bin/true", 0o4755, b"program")
            .link("bin", "usr/bin")
            .folder("/tmp/", 0o1777);
        let packed = layer.pack().unwrap();
        let mut archive = tar::Archive::new(&packed.bytes[..]);
        let seen: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let target = entry
                    .link_name()
                    .unwrap()
                    .map(|target| target.display().to_string());
                let path = entry.path().unwrap().display().to_string();
                (path, entry.header().mode().unwrap(), target)
            })
            .collect();
        let expected = [
            ("bin", 0o777, Some("usr/bin")),
            ("tmp/", 0o1777, None),
            ("usr/", 0o755, None),
            ("usr/bin/", 0o755, None),
            ("usr/bin/true", 0o4755, None),
        ];
        let expected =
            expected.map(|(path, mode, target)| (path.to_owned(), mode, target.map(str::to_owned)));
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_layer_may_leave_out_what_a_lower_one_has() {
        let lower = Layer::default()
            .file("both", 0o644, "same")
            .file("other", 0o644, "old");
        let mut upper = lower.clone().file("other", 0o644, "new");
        upper.subtract(&lower);
        assert_eq!(upper, Layer::default().file("other", 0o644, "new"));
    }

    #[test]
    fn a_folder_keeps_its_mode_when_something_is_put_into_it() {
        let layer = Layer::default()
            .folder("tmp", 0o1777)
            .file("tmp/file", 0o644, b"");
        assert_eq!(layer.get("tmp").unwrap().mode, 0o1777);
    }
}
