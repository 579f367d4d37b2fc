//! A disk that can lose power: a file system in memory that knows what has been synced.
//!
//! [`image`] holds the files (pure), [`device`] cuts the power, [`mount`] lets the kernel reach them (FUSE, so this needs `/dev/fuse` and the right to
//! mount). When the power goes, after any chosen operation, whatever was not synced is gone, or some of it remains, as chance
//! has it. That proves what a real disk with an honest cache would show: no more is promised than POSIX does, which is less
//! than ext4 or XFS keep.

pub mod device;
pub mod image;
mod mount;
