//! Reading a log file to its end, and on while the container runs.

use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::line::{Filter, Stream, tail_offset};

const CHUNK_BYTES: usize = 64 * 1024;
/// A record longer than this is cut: the runtime writes at most 16 KiB a record.
const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// inotify instances are few on shared machines, so the end of the file is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(150);
const QUEUE: usize = 16;

/// What of a log is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogOptions {
    pub(crate) follow: bool,
    pub(crate) tail_lines: Option<u64>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) timestamps: bool,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) stream: Option<Stream>,
}

/// Pieces of a log as they come.
pub(crate) type LogStream = ReceiverStream<io::Result<Bytes>>;

/// Opens a log. Following goes on until `ended` says that the container is over and all was read.
pub(crate) async fn stream<F, E>(
    path: PathBuf,
    options: LogOptions,
    ended: F,
    cancel: CancellationToken,
    tasks: &tokio_util::task::TaskTracker,
) -> io::Result<LogStream>
where
    F: Fn() -> E + Send + Sync + 'static,
    E: Future<Output = bool> + Send + 'static,
{
    let (file, size) = open_at_tail(&path, options.tail_lines).await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let filter = Filter::new(
        options.since,
        options.timestamps,
        options.stream,
        options.limit_bytes,
    );
    let mut reader = Reader {
        path,
        file,
        left: (!options.follow).then_some(size),
        filter,
        rest: Vec::new(),
        sender,
    };
    tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            result = reader.run(options.follow, ended) => {
                if let Err(error) = result {
                    let _ = reader.sender.send(Err(error)).await;
                }
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// Positions a file at its last `count` records, looking backwards piece by piece. Tells how many bytes follow as the file is
/// now.
async fn open_at_tail(path: &Path, count: Option<u64>) -> io::Result<(File, u64)> {
    let mut file = File::open(path).await?;
    let end = file.metadata().await?.len();
    let Some(count) = count else {
        return Ok((file, end));
    };
    let mut start = end;
    let mut seen = Vec::new();
    loop {
        let offset = tail_offset(&seen, count);
        if offset > 0 || start == 0 {
            start += offset as u64;
            file.seek(SeekFrom::Start(start)).await?;
            return Ok((file, end - start));
        }
        let step = (CHUNK_BYTES as u64).min(start);
        start -= step;
        let mut piece = vec![0; usize::try_from(step).unwrap_or(CHUNK_BYTES)];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut piece).await?;
        piece.append(&mut seen);
        seen = piece;
    }
}

struct Reader {
    path: PathBuf,
    file: File,
    /// How many bytes are still to be read, where what is written meanwhile is not asked for.
    left: Option<u64>,
    filter: Filter,
    /// The beginning of a record whose end was not written yet.
    rest: Vec<u8>,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Reader {
    async fn run<F, E>(&mut self, follow: bool, ended: F) -> io::Result<()>
    where
        F: Fn() -> E,
        E: Future<Output = bool>,
    {
        let mut last_round = !follow;
        loop {
            if !self.read_to_end().await? {
                return Ok(());
            }
            if follow && self.next_file().await? {
                continue;
            }
            if last_round {
                return Ok(());
            }
            // Asked before the last read, so that nothing written before the end is missed.
            last_round = ended().await;
            if !last_round {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// False if nobody listens any more or the limit is reached.
    async fn read_to_end(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let room = self.left.map_or(CHUNK_BYTES, |left| {
                usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES))
            });
            let count = self.file.read(&mut chunk[..room]).await?;
            self.left = self.left.map(|left| left - count as u64);
            if count == 0 {
                return Ok(!self.sender.is_closed());
            }
            let out = self.filter_chunk(&chunk[..count]);
            if !out.is_empty() && self.sender.send(Ok(Bytes::from(out))).await.is_err() {
                return Ok(false);
            }
            if self.filter.is_spent() {
                return Ok(false);
            }
        }
    }

    fn filter_chunk(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut pieces = chunk.split(|b| *b == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = MAX_RECORD_BYTES.saturating_sub(self.rest.len());
            self.rest.extend_from_slice(&piece[..piece.len().min(room)]);
            if pieces.peek().is_some() {
                self.filter.take(&self.rest, &mut out);
                self.rest.clear();
            }
        }
        out
    }

    /// After a rotation the path means another file.
    async fn next_file(&mut self) -> io::Result<bool> {
        let Ok(named) = tokio::fs::metadata(&self.path).await else {
            return Ok(false);
        };
        let open = self.file.metadata().await?;
        if named.ino() == open.ino() && named.dev() == open.dev() {
            return Ok(false);
        }
        self.file = File::open(&self.path).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio_stream::StreamExt;
    use tokio_util::task::TaskTracker;

    fn record(text: &str) -> String {
        format!("2026-01-02T03:04:05Z stdout F {text}\n")
    }

    async fn collect(path: &Path, options: LogOptions) -> String {
        let tasks = TaskTracker::new();
        let cancel = CancellationToken::new();
        let mut stream = stream(path.to_owned(), options, || async { true }, cancel, &tasks)
            .await
            .unwrap();
        let mut out = Vec::new();
        while let Some(piece) = stream.next().await {
            out.extend(piece.unwrap());
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn tails_of_long_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let text: String = (0..20_000).map(|i| record(&i.to_string())).collect();
        std::fs::write(&path, text).unwrap();
        let tail = |n| LogOptions {
            tail_lines: Some(n),
            ..LogOptions::default()
        };
        assert_eq!(collect(&path, tail(2)).await, "19998\n19999\n");
        assert_eq!(collect(&path, tail(0)).await, "");
        assert_eq!(collect(&path, tail(15_000)).await.lines().count(), 15_000);
        assert_eq!(
            collect(&path, LogOptions::default()).await.lines().count(),
            20_000
        );
        let limited = LogOptions {
            limit_bytes: Some(3),
            ..LogOptions::default()
        };
        assert_eq!(collect(&path, limited).await, "0\n1");
    }

    #[tokio::test]
    async fn what_is_written_after_the_question_is_not_part_of_the_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, record("one") + &record("two")).unwrap();
        let options = LogOptions {
            tail_lines: Some(1),
            ..LogOptions::default()
        };
        let tasks = TaskTracker::new();
        let mut answer = stream(
            path.clone(),
            options,
            || async { true },
            CancellationToken::new(),
            &tasks,
        )
        .await
        .unwrap();
        // The reader has its own task, which does not run before this one waits.
        let mut log = std::fs::File::options().append(true).open(&path).unwrap();
        log.write_all(record("three").as_bytes()).unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), "two\n");
        assert!(answer.next().await.is_none());
    }

    #[tokio::test]
    async fn following_survives_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, record("one")).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = {
            let over = over.clone();
            move || {
                let over = over.clone();
                async move { over.load(Ordering::SeqCst) }
            }
        };
        let tasks = TaskTracker::new();
        let options = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        let mut stream = stream(path.clone(), options, ended, CancellationToken::new(), &tasks)
            .await
            .unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "one\n");
        std::fs::rename(&path, dir.path().join("0.log.old")).unwrap();
        let mut fresh = std::fs::File::create(&path).unwrap();
        fresh.write_all(record("two").as_bytes()).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "two\n");
        over.store(true, Ordering::SeqCst);
        assert!(stream.next().await.is_none());
        tasks.close();
        tasks.wait().await;
    }
}
