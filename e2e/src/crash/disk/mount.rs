//! Lets the kernel reach a [`Disk`].

use std::ffi::OsStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::device::Disk;
use super::image::Attributes;

/// The kernel is to ask each time: after a loss of power nothing that it remembers is true.
const TTL: Duration = Duration::ZERO;

/// The unit in which the disk tells its size.
const UNIT: u32 = 4096;

fn attr(request: &Request, attributes: Attributes) -> FileAttr {
    let size = attributes.size.unwrap_or_default();
    FileAttr {
        ino: INodeNo(attributes.number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if attributes.size.is_some() {
            FileType::RegularFile
        } else {
            FileType::Directory
        },
        perm: attributes.mode,
        nlink: 1,
        uid: request.uid(),
        gid: request.gid(),
        rdev: 0,
        blksize: UNIT,
        flags: 0,
    }
}

/// Permission bits of a mode.
fn permissions(mode: u32, umask: u32) -> u16 {
    u16::try_from(mode & !umask & 0o7777).expect("twelve bits")
}

impl Filesystem for Disk {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look(|image| image.lookup(parent.0, name)) {
            Ok(found) => reply.entry(&TTL, &attr(request, found), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.look(|image| image.attributes(ino.0)) {
            Ok(found) => reply.attr(&TTL, &attr(request, found)),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.change(|image| {
            if let Some(mode) = mode {
                image.set_mode(ino.0, permissions(mode, 0));
            }
            if let Some(size) = size {
                image.resize(ino.0, size)?;
            }
            image.attributes(ino.0)
        });
        match changed {
            Ok(found) => reply.attr(&TTL, &attr(request, found)),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        match self.change(|image| image.create(parent.0, name, permissions(mode, umask), true)) {
            Ok(made) => reply.entry(&TTL, &attr(request, made), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self.change(|image| {
            let made = image.create(parent.0, name, permissions(mode, umask), false)?;
            image.open(made.number);
            Ok(made)
        });
        match made {
            Ok(made) => {
                let attr = attr(request, made);
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn link(&self, request: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.change(|image| image.link(ino.0, parent.0, name)) {
            Ok(made) => reply.entry(&TTL, &attr(request, made), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.change(|image| image.remove(parent.0, name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.change(|image| image.remove(parent.0, name)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        empty(
            reply,
            self.change(|image| image.rename((parent.0, name), (newparent.0, newname))),
        );
    }

    fn open(&self, _: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.look(|image| image.attributes(ino.0)) {
            Ok(_) => {
                self.lock().image.open(ino.0);
                reply.opened(FileHandle(0), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.lock().image.close(ino.0);
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.look(|image| image.read(ino.0, offset, size).map(<[u8]>::to_vec)) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.change(|image| image.write(ino.0, offset, data)) {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("the kernel writes less at once")),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        empty(reply, self.sync(ino));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        empty(reply, self.sync(ino));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = self.look(|image| {
            let kind = |number| match image.attributes(number)?.size {
                Some(_) => Ok(FileType::RegularFile),
                None => Ok(FileType::Directory),
            };
            let names = image.names(ino.0)?.iter();
            names
                .map(|(name, number)| Ok((name.clone(), *number, kind(*number)?)))
                .collect::<Result<Vec<_>, _>>()
        });
        let names = match names {
            Ok(names) => names,
            Err(errno) => return reply.error(errno),
        };
        let skip = usize::try_from(offset).expect("folders are small");
        for (place, (name, number, kind)) in (1u64..).zip(names).skip(skip) {
            if reply.add(INodeNo(number), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (capacity, free) = self.lock().image.space();
        let (all, free) = (capacity / u64::from(UNIT), free / u64::from(UNIT));
        reply.statfs(all, free, free, 1 << 20, 1 << 20, UNIT, 255, UNIT);
    }
}

impl Disk {
    fn sync(&self, ino: INodeNo) -> Result<(), Errno> {
        self.change(|image| {
            image.sync(ino.0);
            Ok(())
        })
    }
}

fn empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}
