//! The program of the pause image: it holds a pod's namespaces open and, where the pod shares its process namespace,
//! leaves no dead children behind.
//!
//! Standard library only: `images/build.rs` compiles this file with plain `rustc` into a static program.

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
}

const SIGCHLD: i32 = 17;
const SIG_IGN: usize = 1;

fn main() {
    // A process that ignores SIGCHLD has its children reaped by the kernel, adopted ones included (signal(7)).
    // SAFETY: no handler is installed, and no other thread exists.
    unsafe { signal(SIGCHLD, SIG_IGN) };
    loop {
        std::thread::park();
    }
}
