//! Command lines of one program, written as a user types them, and what they are to say.
//!
//! A [`Script`] has a namespace and a folder of its own, so that scripts run beside each other. Where a command, a file or an
//! expectation has `@ns`, the namespace's name is put: names that are not within a namespace are told apart by it.

use std::io::PipeWriter;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::program::{Outcome, Program};
use crate::wait::DEADLINE;

/// A program, where it stands and what it speaks of.
#[derive(Debug)]
pub struct Script {
    program: Program,
    namespace: String,
    folder: TempDir,
}

impl Script {
    /// A script of a program that already knows its namespace.
    ///
    /// # Errors
    /// When it can have no folder.
    pub fn new(program: Program, namespace: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the script")?;
        Ok(Self {
            program: program.within(folder.path()),
            namespace: namespace.to_owned(),
            folder,
        })
    }

    /// The same script under another environment.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.program = self.program.with(name, value);
        self
    }

    /// The namespace, which is in the place of `@ns`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Where its files are, and where its program is started.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, by a path that starts in the folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.folder().join(path);
        let parent = path.parent().context("a file is in a folder")?;
        std::fs::create_dir_all(parent)?;
        std::fs::write(&path, self.named(text)).with_context(|| path.display().to_string())
    }

    fn named(&self, text: &str) -> String {
        text.replace("@ns", &self.namespace)
    }

    fn words(&self, command: &str) -> Result<Vec<String>> {
        shlex::split(&self.named(command)).with_context(|| format!("no command line: {command}"))
    }

    /// Runs a command to its end, be that good or bad.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run(&self, command: &str) -> Result<Outcome> {
        self.run_with_input(command, "").await
    }

    /// Runs a command with something to read.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run_with_input(&self, command: &str, input: &str) -> Result<Outcome> {
        let words = self.words(command)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.program.run_with_input(&words, input).await
    }

    /// Runs a command with something to read, which does not end before it has said what is wanted.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run_until_heard(&self, command: &str, input: &str, wanted: &str) -> Result<Outcome> {
        let words = self.words(command)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.program.run_until_heard(&words, input, wanted).await
    }

    /// Runs a command to a good end, and gives what it printed.
    ///
    /// # Errors
    /// When it fails: with its own words.
    pub async fn text(&self, command: &str) -> Result<String> {
        let outcome = self.run(command).await?;
        ensure!(outcome.code == Some(0), "`{command}` fails: {outcome:?}");
        Ok(outcome.stdout)
    }

    /// Runs a command to a good end, and reads what it printed.
    ///
    /// # Errors
    /// When it fails, or prints no JSON.
    pub async fn json(&self, command: &str) -> Result<Value> {
        let text = self.text(command).await?;
        serde_json::from_str(&text).with_context(|| format!("`{command}` prints no JSON: {text}"))
    }

    /// Runs commands one after the other. Each succeeds, and says what stands beside it, be it to standard output or to
    /// standard error.
    ///
    /// # Errors
    /// With all that do not: with their own words.
    pub async fn says(&self, commands: &[(&str, &str)]) -> Result<()> {
        self.expect_all(commands, true).await
    }

    /// Runs commands one after the other. Each fails, and says what stands beside it.
    ///
    /// # Errors
    /// With all that do not: with their own words.
    pub async fn refuses(&self, commands: &[(&str, &str)]) -> Result<()> {
        self.expect_all(commands, false).await
    }

    async fn expect_all(&self, commands: &[(&str, &str)], good: bool) -> Result<()> {
        let mut faults = Vec::new();
        for (command, expected) in commands {
            if let Err(fault) = self.expect(command, expected, good).await {
                faults.push(format!("{fault:#}"));
            }
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    }

    async fn expect(&self, command: &str, expected: &str, good: bool) -> Result<()> {
        let outcome = self.run(command).await?;
        let word = if good { "succeeds" } else { "fails" };
        ensure!(
            (outcome.code == Some(0)) == good,
            "`{command}` {word}: {outcome:?}"
        );
        let expected = self.named(expected);
        ensure!(
            outcome.stdout.contains(&expected) || outcome.stderr.contains(&expected),
            "`{command}` says {expected:?}: {outcome:?}"
        );
        Ok(())
    }

    /// Starts a command, to read line after line of what it prints.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn follow(&self, command: &str) -> Result<Followed> {
        self.followed(command, None)
    }

    /// As [`Script::follow`], with input that is given at once and does not end while the command runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn follow_with_input(&self, command: &str, input: &str) -> Result<Followed> {
        self.followed(command, Some(input))
    }

    fn followed(&self, command: &str, input: Option<&str>) -> Result<Followed> {
        let words = self.words(command)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (mut child, open_end) = match input {
            None => (self.program.start(&words)?, None),
            Some(input) => {
                let (read, mut write) = std::io::pipe()?;
                // Little enough for a pipe to hold.
                std::io::Write::write_all(&mut write, input.as_bytes())?;
                (self.program.start_reading(&words, read)?, Some(write))
            }
        };
        let output = child.stdout.take().context("the output is a pipe")?;
        Ok(Followed {
            command: command.to_owned(),
            lines: BufReader::new(output).lines(),
            child,
            _open_end: open_end,
        })
    }
}

/// A command that runs on. It is killed when dropped.
#[derive(Debug)]
pub struct Followed {
    command: String,
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
    _open_end: Option<PipeWriter>,
}

impl Followed {
    /// Reads on to the first line that has these words, and gives that line.
    ///
    /// # Errors
    /// When the command ends or falls silent before.
    pub async fn until(&mut self, words: &str) -> Result<String> {
        let mut before = String::new();
        let search = async {
            while let Some(line) = self.lines.next_line().await? {
                if line.contains(words) {
                    return Ok(line);
                }
                before.push_str(&line);
                before.push('\n');
            }
            bail!("it ends")
        };
        let found = tokio::time::timeout(DEADLINE, search).await;
        let found = found.unwrap_or_else(|_| bail!("it falls silent"));
        found.with_context(|| format!("`{}` says {words:?}, and not only {before:?}", self.command))
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn end(mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("`{}` is ended", self.command))
    }
}
