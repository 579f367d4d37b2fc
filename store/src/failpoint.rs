//! Named places in the store at which a crash test has the process killed.
//!
//! `CORACLE_FAILPOINT=commit/written@3` kills it with SIGKILL when it comes to `commit/written` for the third time. Without
//! the feature `failpoints` there is nothing of this in the program.

/// Marks a place. The name says the step and how far it has come.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::reach($name);
    };
}
pub(crate) use failpoint;

#[cfg(feature = "failpoints")]
pub(crate) use armed::reach;

#[cfg(feature = "failpoints")]
mod armed {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Where to die, and how often to come by there before. Told by the environment once and for all.
    static ARMED: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let armed = std::env::var("CORACLE_FAILPOINT").ok()?;
        let (name, count) = armed.split_once('@').expect("CORACLE_FAILPOINT is NAME@COUNT");
        let count = count.parse().expect("CORACLE_FAILPOINT is NAME@COUNT");
        Some((name.to_owned(), AtomicU32::new(count)))
    });

    /// Comes to a place, and no further if it is the one.
    pub(crate) fn reach(name: &str) {
        let Some((wanted, left)) = &*ARMED else { return };
        if wanted == name && left.fetch_sub(1, Ordering::SeqCst) == 1 {
            kill(Pid::this(), Signal::SIGKILL).expect("a process may kill itself");
            // The signal may be taken on another thread; this one is not to go on meanwhile.
            loop {
                std::thread::park();
            }
        }
    }
}
