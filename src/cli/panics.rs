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

    fn of(panics: impl FnOnce() + std::panic::UnwindSafe) -> &'static str {
        said(&*std::panic::catch_unwind(panics).unwrap_err())
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
