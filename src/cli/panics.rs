//! What is said of a panic: where, and what was written into the program; never what was put together when it happened, since
//! that may quote what was being worked on (a text that was cut in the middle of a letter is quoted whole).

use std::any::Any;
use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

const WITHHELD: &str = "(its message may quote data, and is withheld)";

/// For the whole process, in place of the hook that prints everything.
pub fn withhold() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    // Neither is always known; the rest is told all the same.
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    // Names and lines of functions, where RUST_BACKTRACE asks for them.
    let trace = Backtrace::capture();
    tracing::error!(panic.place = %place, panic.thread = %thread, panic.trace = %trace, "panicked: {}", said(panic.payload()));
}

/// A literal of the program, or nothing.
fn said(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or(WITHHELD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::{LogFilter, Setting};

    fn of(panics: impl FnOnce() + std::panic::UnwindSafe) -> &'static str {
        said(&*std::panic::catch_unwind(panics).unwrap_err())
    }

    /// Says to this very test, in a process of its own, that it is the server.
    const SERVER: &str = "COUNTERSIGN_TEST_PANICS";

    /// The hook, the log and the answer of a server, as they are: in a process of its own, since a hook is the whole process'.
    #[test]
    fn a_call_that_panics_over_data_is_answered_and_logged_without_it() {
        const TEST: &str = "cli::panics::tests::a_call_that_panics_over_data_is_answered_and_logged_without_it";
        if let Ok(secret) = std::env::var(SERVER) {
            let log = crate::config::Log {
                level: LogFilter::read(&"trace".into()).unwrap(),
                ..crate::config::Log::default()
            };
            crate::cli::logging::start(&log, None).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let call = crate::grpc::unbroken(async move { Ok::<_, crate::service::Refusal>(secret[..6].to_owned()) });
            let answer = runtime.block_on(call).unwrap_err();
            eprintln!("answered: {:?}", crate::grpc::refused(&answer));
            return;
        }
        let mut server = std::process::Command::new(std::env::current_exe().unwrap());
        let ran = server.args(["--exact", TEST, "--nocapture"]).env(SERVER, "sesam\u{e9}, open").output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success() && said.contains("panicked: (its message") && said.contains("internal error"),
            "{said}"
        );
        assert!(!said.contains("sesam") && !said.contains("open"), "{said}");
    }

    #[test]
    fn a_panic_that_quotes_data_is_told_without_it() {
        let secret = String::from("sesamé, open");
        assert_eq!(of(move || drop(secret[..6].to_owned())), WITHHELD);
        let nothing = std::hint::black_box(None::<u8>);
        assert_eq!(of(move || assert_eq!(nothing.unwrap(), 1)), "called `Option::unwrap()` on a `None` value");
        let rows = std::hint::black_box([1, 2, 3]);
        assert_eq!(of(move || assert_eq!(rows[std::hint::black_box(7)], 1)), WITHHELD);
        assert_eq!(of(|| panic!("literal")), "literal");
    }
}
