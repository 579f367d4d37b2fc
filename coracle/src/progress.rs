//! What a person sees while a command works: a tick a step, with how long it took, on standard error.

use std::io::{IsTerminal, Write};

use tokio::time::Instant;

/// Tells of steps.
pub(crate) struct Progress {
    begun: Instant,
    colour: bool,
}

impl Progress {
    /// Begins to count time.
    pub(crate) fn begin() -> Self {
        // https://no-color.org: any value but the empty one.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            begun: Instant::now(),
            colour: std::io::stderr().is_terminal() && !refused,
        }
    }

    /// Does one step and ticks it off. A step that fails leaves its error to the caller.
    ///
    /// # Errors
    /// The step's own.
    pub(crate) fn step<T>(&self, what: &str, step: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let begun = Instant::now();
        let outcome = step();
        self.tick(what, begun, outcome.is_ok());
        outcome
    }

    /// As [`Progress::step`], for a step that waits.
    ///
    /// # Errors
    /// The step's own.
    pub(crate) async fn wait<T>(
        &self,
        what: &str,
        step: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        let outcome = step.await;
        self.tick(what, begun, outcome.is_ok());
        outcome
    }

    fn tick(&self, what: &str, begun: Instant, well: bool) {
        let (mark, colour) = if well { ("✓", "32") } else { ("✗", "31") };
        let mark = if self.colour {
            format!("\x1b[{colour}m{mark}\x1b[0m")
        } else {
            mark.to_owned()
        };
        self.say(&format!("{mark} {what}  {:.1} s", begun.elapsed().as_secs_f64()));
    }

    /// A line by itself.
    pub(crate) fn say(&self, line: &str) {
        // Nobody reads on: there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Seconds since the command began.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}
