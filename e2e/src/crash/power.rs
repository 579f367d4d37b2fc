//! A data directory on a disk whose power can go.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fastrand::Rng;
use tokio::task::AbortHandle;

use super::disk::device::{Disk, Mounted};
use super::disk::image::Survival;
use crate::machine::kill;

/// The disk's size.
const CAPACITY: u64 = 4 << 30;

/// The disk and where it is mounted.
#[derive(Debug)]
pub struct Power {
    disk: Disk,
    folder: PathBuf,
    mounted: Option<Mounted>,
}

/// Kills a process once the power goes. Ends when dropped.
#[derive(Debug)]
pub struct Killer(AbortHandle);

impl Drop for Killer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Power {
    /// An empty disk, mounted at a folder that is made.
    ///
    /// # Errors
    /// When this machine does not allow it.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let disk = Disk::new(CAPACITY);
        let mounted = Some(disk.mount(&folder)?);
        Ok(Self {
            disk,
            folder,
            mounted,
        })
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The disk itself.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Copies all that is on it to a folder, to be looked at when the disk is gone.
    ///
    /// # Errors
    /// When there is no power, or no room.
    pub fn copy(&self, to: &Path) -> io::Result<()> {
        copy(&self.folder, to)
    }

    /// Has a process die with the disk.
    pub fn dies_with(&self, pid: u32) -> Killer {
        let disk = self.disk.clone();
        let killer = tokio::spawn(async move {
            disk.is_cut().await;
            // It may have died of the disk's errors.
            let _ = kill(pid).await;
        });
        Killer(killer.abort_handle())
    }

    /// Takes the power away, if it is still there, and brings it back. Nobody may use the disk.
    ///
    /// # Errors
    /// When it cannot be unmounted, or mounted again.
    pub fn cycle(&mut self, survival: Survival, random: &mut Rng) -> Result<()> {
        self.disk.cut();
        if let Some(mounted) = self.mounted.take() {
            mounted.unmount().context("the disk is in use")?;
        }
        self.disk.restore(survival, random);
        self.mounted = Some(self.disk.mount(&self.folder)?);
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
