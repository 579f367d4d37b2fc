//! Programs run as a user would run them, with an end to every wait.

use std::ffi::OsString;
use std::fs::File;
use std::io::PipeReader;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How long a program may run.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);

/// A program with the environment it is to have, besides the test's own.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    first: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
    folder: Option<PathBuf>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Outcome {
    fn of(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Self {
        Self {
            code: status.code(),
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
        }
    }
}

impl Program {
    /// A program by its path, or by its name on the `PATH`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            first: Vec::new(),
            environment: Vec::new(),
            folder: None,
        }
    }

    /// The same program with another variable.
    pub fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The same program, started in a folder.
    pub fn within(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// The same program with arguments that stand before all others.
    pub fn first(mut self, arguments: &[&str]) -> Self {
        self.first
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.first)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end, be that good or bad.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Outcome> {
        self.run_with_input(arguments, "").await
    }

    /// Runs it with something to read.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<Outcome> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut child = self.spawn(command)?;
        let mut stdin = child.stdin.take().context("the input is a pipe")?;
        let feed = async move {
            // A program may end without reading all of its input.
            let _ = stdin.write_all(input.as_bytes()).await;
        };
        let run = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = self.within_time(arguments, run).await?;
        Ok(Outcome::of(output.status, &output.stdout, &output.stderr))
    }

    /// Runs it with something to read, which does not end before it has said what is wanted. Who is attached to a container
    /// without `stdinOnce` is detached where his input ends, whatever the container is about to say.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run_until_heard(&self, arguments: &[&str], input: &str, wanted: &str) -> Result<Outcome> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut child = self.spawn(command)?;
        let mut stdin = child.stdin.take();
        let mut stdout = child.stdout.take().context("what it says is a pipe")?;
        let mut stderr = child.stderr.take().context("and what it complains of")?;
        let talk = async move {
            if let Some(stdin) = &mut stdin {
                // A program may end without reading all of its input.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            let mut said = Vec::new();
            while stdout.read_buf(&mut said).await? > 0 {
                if String::from_utf8_lossy(&said).contains(wanted) {
                    drop(stdin.take());
                }
            }
            Ok(said)
        };
        let complain = async move {
            let mut complaints = Vec::new();
            stderr.read_to_end(&mut complaints).await?;
            Ok(complaints)
        };
        let run = async { tokio::try_join!(talk, complain, child.wait()) };
        let (said, complaints, status) = self.within_time(arguments, run).await?;
        Ok(Outcome::of(status, &said, &complaints))
    }

    async fn within_time<T>(
        &self,
        arguments: &[&str],
        run: impl Future<Output = std::io::Result<T>>,
    ) -> Result<T> {
        let shown = || format!("{} {}", self.path.display(), arguments.join(" "));
        let ended = tokio::time::timeout(RUN_TIMEOUT, run)
            .await
            .with_context(|| format!("{} hangs", shown()))?;
        ended.with_context(shown)
    }

    /// Runs it to a good end and gives what it printed.
    ///
    /// # Errors
    /// When it fails: with its own words.
    pub async fn text(&self, arguments: &[&str]) -> Result<String> {
        let outcome = self.run(arguments).await?;
        let Outcome { code, stdout, stderr } = &outcome;
        ensure!(
            *code == Some(0),
            "`{} {}` ends with {code:?}: {stderr}{stdout}",
            self.path.display(),
            arguments.join(" ")
        );
        Ok(outcome.stdout)
    }

    /// Runs it to a good end and reads what it printed.
    ///
    /// # Errors
    /// When it fails, or prints no JSON.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.text(arguments).await?;
        serde_json::from_str(&text).with_context(|| format!("{} prints no JSON: {text}", self.path.display()))
    }

    /// Starts it beside the test. It is killed when dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Child> {
        self.spawn(self.command(arguments))
    }

    /// Starts it beside the test, to read what comes out of a pipe. It is killed when dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_reading(&self, arguments: &[&str], input: PipeReader) -> Result<Child> {
        let mut command = self.command(arguments);
        command.stdin(input);
        self.spawn(command)
    }

    /// Starts it beside the test with all that it says at the end of a file, however much that is. It is killed when
    /// dropped.
    ///
    /// # Errors
    /// When it cannot be started, or the file not be written.
    pub fn start_logged(&self, arguments: &[&str], log: &Path) -> Result<Child> {
        let open = || File::options().create(true).append(true).open(log);
        let mut command = self.command(arguments);
        command.stdout(open()?).stderr(open()?);
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Result<Child> {
        command
            .spawn()
            .with_context(|| format!("{} cannot be started", self.path.display()))
    }
}
