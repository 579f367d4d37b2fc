//! A disk that counts what is done to it, and whose power can go after any operation.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use fuser::{BackgroundSession, Config, Errno, MountOption};
use tokio::sync::Notify;

use super::image::{Image, Refusal, Survival};

/// A disk, whether it is mounted or not.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    cut: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) image: Image,
    /// After how many more changes the power goes; never if absent.
    left: Option<u64>,
    /// The power is gone: nothing works any more.
    dark: bool,
    /// How many changes there have been.
    changes: u64,
}

/// A mounted disk. Unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    session: Option<BackgroundSession>,
}

impl Disk {
    /// An empty disk of so many bytes.
    pub fn new(capacity: u64) -> Self {
        let state = State {
            image: Image::new(capacity),
            left: None,
            dark: false,
            changes: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            cut: Arc::default(),
        }
    }

    /// Mounts it.
    ///
    /// # Errors
    /// When this machine does not allow it.
    pub fn mount(&self, folder: &Path) -> io::Result<Mounted> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("coracle-crash".to_owned()),
            MountOption::DefaultPermissions,
        ];
        let session = fuser::spawn_mount(self.clone(), folder, &config)?;
        Ok(Mounted {
            session: Some(session),
        })
    }

    /// Has the power go after so many more changes.
    pub fn cut_after(&self, changes: u64) {
        self.lock().left = Some(changes);
    }

    /// Waits until the power is gone.
    pub async fn is_cut(&self) {
        loop {
            let cut = self.cut.notified();
            if self.lock().dark {
                return;
            }
            cut.await;
        }
    }

    /// Cuts the power now, if it is not gone.
    pub fn cut(&self) {
        self.lock().dark = true;
        self.cut.notify_waiters();
    }

    /// Brings the power back, with what has survived.
    pub fn restore(&self, survival: Survival, random: &mut Rng) {
        let mut state = self.lock();
        state.image.lose_power(survival, random);
        state.dark = false;
        state.left = None;
    }

    /// Makes the disk larger or smaller.
    pub fn resize(&self, capacity: u64) {
        self.lock().image.resize_disk(capacity);
    }

    /// How many bytes are used.
    pub fn used(&self) -> u64 {
        let (capacity, free) = self.lock().image.space();
        capacity - free
    }

    /// How often something has been changed or synced.
    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at something.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Image) -> Result<T, Refusal>) -> Result<T, Errno> {
        let state = self.lock();
        if state.dark {
            return Err(Errno::EIO);
        }
        look(&state.image).map_err(errno)
    }

    /// Changes or syncs something. The power may go just after it was done, before anyone is told.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Image) -> Result<T, Refusal>,
    ) -> Result<T, Errno> {
        let mut state = self.lock();
        if state.dark {
            return Err(Errno::EIO);
        }
        let changed = change(&mut state.image).map_err(errno);
        state.changes += 1;
        if let Some(left) = &mut state.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.dark = true;
                self.cut.notify_waiters();
                return Err(Errno::EIO);
            }
        }
        changed
    }
}

impl Mounted {
    /// Unmounts it, once whoever used it is gone.
    ///
    /// # Errors
    /// When it is still in use.
    pub fn unmount(mut self) -> io::Result<()> {
        self.session
            .take()
            .map_or(Ok(()), BackgroundSession::umount_and_join)
    }
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Missing => Errno::ENOENT,
        Refusal::Exists => Errno::EEXIST,
        Refusal::NoFolder => Errno::ENOTDIR,
        Refusal::IsFolder => Errno::EISDIR,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
        Refusal::Full => Errno::ENOSPC,
    }
}
