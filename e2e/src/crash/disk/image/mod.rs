//! Files and folders in memory, each as it is and as it would be after a loss of power. Pure.
//!
//! The contents of a file are safe once the file has been synced, the name of a file once its folder has been. Everything
//! else is *pending*: of the pending writes of a file any may survive, by blocks; of the pending changes of names only the
//! first few, in the order in which they were made, as a journal would have it.

mod content;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};

use content::{Content, Edit, apply, assign, file, folder, survive};
use fastrand::Rng;

/// The number of a file or folder.
pub type Number = u64;

/// The outermost folder.
pub const ROOT: Number = 1;

/// Why something was not done, as the operating system calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// ENOENT
    Missing,
    /// EEXIST
    Exists,
    /// ENOTDIR
    NoFolder,
    /// EISDIR
    IsFolder,
    /// ENOTEMPTY
    NotEmpty,
    /// ENOSPC
    Full,
}

/// How much of what was not synced survives a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// What chance leaves.
    Some,
}

/// A file or a folder, as far as others may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub number: Number,
    /// Bytes of a file; nothing for a folder.
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: u16,
}

#[derive(Clone, Debug)]
struct Node {
    mode: u16,
    content: Content,
}

/// One change of names, which takes place as a whole: in a folder, a name comes to mean something or nothing.
type Renaming = Vec<(Number, OsString, Option<Number>)>;

/// All files and folders.
#[derive(Clone, Debug)]
pub struct Image {
    nodes: BTreeMap<Number, Node>,
    /// How often each file is open.
    open: HashMap<Number, u64>,
    next: Number,
    /// Changes of names that no sync has reached, in order.
    renamings: Vec<Renaming>,
    /// How many bytes fit.
    capacity: u64,
    used: u64,
}

impl Image {
    /// An empty folder on a disk of so many bytes.
    pub fn new(capacity: u64) -> Self {
        let root = Node {
            mode: 0o755,
            content: folder(),
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            open: HashMap::new(),
            next: ROOT + 1,
            renamings: Vec::new(),
            capacity,
            used: 0,
        }
    }

    /// How many bytes there are, and how many are free.
    pub fn space(&self) -> (u64, u64) {
        (self.capacity, self.capacity.saturating_sub(self.used))
    }

    /// Makes the disk larger or smaller. What is there stays.
    pub fn resize_disk(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// What is to be seen of a file or folder.
    pub fn attributes(&self, number: Number) -> Result<Attributes, Refusal> {
        let node = self.nodes.get(&number).ok_or(Refusal::Missing)?;
        let size = match &node.content {
            Content::File { now, .. } => Some(now.len() as u64),
            Content::Folder { .. } => None,
        };
        Ok(Attributes {
            number,
            size,
            mode: node.mode,
        })
    }

    /// What a name means in a folder.
    pub fn lookup(&self, parent: Number, name: &OsStr) -> Result<Attributes, Refusal> {
        let number = self.names(parent)?.get(name).ok_or(Refusal::Missing)?;
        self.attributes(*number)
    }

    /// The names in a folder.
    pub fn names(&self, folder: Number) -> Result<&BTreeMap<OsString, Number>, Refusal> {
        match &self.nodes.get(&folder).ok_or(Refusal::Missing)?.content {
            Content::Folder { now, .. } => Ok(now),
            Content::File { .. } => Err(Refusal::NoFolder),
        }
    }

    /// Makes a file, or a folder.
    pub fn create(
        &mut self,
        parent: Number,
        name: &OsStr,
        mode: u16,
        is_folder: bool,
    ) -> Result<Attributes, Refusal> {
        if self.names(parent)?.contains_key(name) {
            return Err(Refusal::Exists);
        }
        let content = if is_folder { folder() } else { file() };
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, Node { mode, content });
        self.rename_all(vec![(parent, name.to_owned(), Some(number))]);
        self.attributes(number)
    }

    /// Gives a file another name besides.
    pub fn link(&mut self, number: Number, parent: Number, name: &OsStr) -> Result<Attributes, Refusal> {
        if self.names(parent)?.contains_key(name) {
            return Err(Refusal::Exists);
        }
        self.rename_all(vec![(parent, name.to_owned(), Some(number))]);
        self.attributes(number)
    }

    /// Takes a name away.
    pub fn remove(&mut self, parent: Number, name: &OsStr) -> Result<(), Refusal> {
        let number = self.lookup(parent, name)?.number;
        if let Ok(names) = self.names(number)
            && !names.is_empty()
        {
            return Err(Refusal::NotEmpty);
        }
        self.rename_all(vec![(parent, name.to_owned(), None)]);
        Ok(())
    }

    /// Gives a file or folder another name, in the place of what has it.
    pub fn rename(&mut self, from: (Number, &OsStr), to: (Number, &OsStr)) -> Result<(), Refusal> {
        let number = self.lookup(from.0, from.1)?.number;
        if let Ok(there) = self.lookup(to.0, to.1)
            && self.names(there.number).is_ok_and(|names| !names.is_empty())
        {
            return Err(Refusal::NotEmpty);
        }
        self.rename_all(vec![
            (from.0, from.1.to_owned(), None),
            (to.0, to.1.to_owned(), Some(number)),
        ]);
        Ok(())
    }

    fn rename_all(&mut self, renaming: Renaming) {
        for (parent, name, number) in &renaming {
            if let Some(Content::Folder { now, .. }) = self.content_mut(*parent) {
                assign(now, name, *number);
            }
        }
        self.renamings.push(renaming);
        self.forget_unnamed();
    }

    /// Changes permission bits, which no loss of power undoes.
    pub fn set_mode(&mut self, number: Number, mode: u16) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.mode = mode;
        }
    }

    /// Has a file be kept until it is closed, whatever becomes of its names.
    pub fn open(&mut self, number: Number) {
        *self.open.entry(number).or_default() += 1;
    }

    /// Closes a file that was opened.
    pub fn close(&mut self, number: Number) {
        if let Some(count) = self.open.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&number);
                self.forget_unnamed();
            }
        }
    }

    /// Part of a file.
    pub fn read(&self, number: Number, offset: u64, length: u32) -> Result<&[u8], Refusal> {
        match &self.nodes.get(&number).ok_or(Refusal::Missing)?.content {
            Content::File { now, .. } => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(now.len());
                let end = start.saturating_add(length as usize).min(now.len());
                Ok(&now[start..end])
            }
            Content::Folder { .. } => Err(Refusal::IsFolder),
        }
    }

    /// Writes to a file.
    pub fn write(&mut self, number: Number, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let end = offset + bytes.len() as u64;
        self.edit(
            number,
            end,
            Edit::Write {
                offset,
                bytes: bytes.to_vec(),
            },
        )
    }

    /// Cuts a file, or fills it up with zeros.
    pub fn resize(&mut self, number: Number, size: u64) -> Result<(), Refusal> {
        self.edit(number, size, Edit::Resize(size))
    }

    fn edit(&mut self, number: Number, end: u64, edit: Edit) -> Result<(), Refusal> {
        let before = self.attributes(number)?.size.ok_or(Refusal::IsFolder)?;
        let (_, free) = self.space();
        if end.saturating_sub(before) > free {
            return Err(Refusal::Full);
        }
        if let Some(Content::File { now, pending, .. }) = self.content_mut(number) {
            apply(now, &edit);
            pending.push(edit);
        }
        let after = self.attributes(number)?.size.unwrap_or_default();
        self.used = self.used + after - before;
        Ok(())
    }

    /// Makes a file's contents, or a folder's names, safe.
    pub fn sync(&mut self, number: Number) {
        match self.content_mut(number) {
            Some(Content::File { synced, pending, .. }) => {
                for edit in pending.drain(..) {
                    apply(synced, &edit);
                }
            }
            Some(Content::Folder { .. }) => {
                let touches = |renaming: &Renaming| renaming.iter().any(|(parent, ..)| *parent == number);
                let (safe, rest) = std::mem::take(&mut self.renamings).into_iter().partition(touches);
                self.renamings = rest;
                self.settle(safe);
                self.forget_unnamed();
            }
            None => {}
        }
    }

    fn settle(&mut self, renamings: Vec<Renaming>) {
        for (parent, name, number) in renamings.into_iter().flatten() {
            if let Some(Content::Folder { synced, .. }) = self.content_mut(parent) {
                assign(synced, &name, number);
            }
        }
    }

    /// What is there once power is back.
    pub fn lose_power(&mut self, survival: Survival, random: &mut Rng) {
        let survivors = match survival {
            Survival::Nothing => 0,
            Survival::Some => random.usize(..=self.renamings.len()),
        };
        self.open.clear();
        let mut pending = std::mem::take(&mut self.renamings);
        pending.truncate(survivors);
        self.settle(pending);
        for node in self.nodes.values_mut() {
            match &mut node.content {
                Content::File { now, synced, pending } => {
                    for edit in std::mem::take(pending) {
                        if survival == Survival::Some {
                            survive(synced, &edit, random);
                        }
                    }
                    now.clone_from(synced);
                }
                Content::Folder { now, synced } => now.clone_from(synced),
            }
        }
        self.forget_unnamed();
        self.used = self
            .nodes
            .keys()
            .filter_map(|number| self.attributes(*number).ok()?.size)
            .sum();
    }

    fn content_mut(&mut self, number: Number) -> Option<&mut Content> {
        self.nodes.get_mut(&number).map(|node| &mut node.content)
    }

    /// Drops what is not open and has no name any more, neither now nor after a loss of power.
    fn forget_unnamed(&mut self) {
        let mut named = HashSet::from([ROOT]);
        named.extend(self.open.keys());
        for node in self.nodes.values() {
            if let Content::Folder { now, synced } = &node.content {
                named.extend(now.values().chain(synced.values()));
            }
        }
        named.extend(
            self.renamings
                .iter()
                .flatten()
                .filter_map(|(_, _, number)| *number),
        );
        let mut freed = 0;
        self.nodes.retain(|number, node| {
            let stays = named.contains(number);
            if let Content::File { now, .. } = &node.content
                && !stays
            {
                freed += now.len() as u64;
            }
            stays
        });
        self.used = self.used.saturating_sub(freed);
    }
}
