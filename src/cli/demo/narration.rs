//! The demo in words: briefly, each answer beside what was asked.

use crate::cli::failure::Failure;
use crate::cli::screen::{Screen, Style};
use crate::cli::words::{escaped, outcome};
use crate::wire::pb;

pub struct Narration<'a> {
    screen: &'a mut Screen,
    step: usize,
}

impl<'a> Narration<'a> {
    pub fn new(screen: &'a mut Screen) -> Self {
        Self { screen, step: 0 }
    }

    pub fn style(&self) -> Style {
        self.screen.style
    }

    /// Something that is no step.
    pub fn scene(&mut self, text: &str) -> Result<(), Failure> {
        self.screen.line(&format!("\n{text}"))
    }

    /// Who does what.
    pub fn step(&mut self, text: &str) -> Result<(), Failure> {
        self.step += 1;
        let title = self.screen.style.bold(&format!("{}. {text}", self.step));
        self.screen.line(&format!("\n{title}"))
    }

    /// What came of it.
    pub fn tell(&mut self, text: &str) -> Result<(), Failure> {
        let indented: Vec<_> = text.lines().map(|line| format!("   {line}")).collect();
        self.screen.line(&indented.join("\n"))
    }

    /// The service's answer, which must be this one.
    pub fn answer(
        &mut self,
        answer: &pb::AuthorizeResponse,
        expected: pb::Outcome,
        reason: &str,
    ) -> Result<(), Failure> {
        let style = self.screen.style;
        let word = outcome(answer.outcome);
        let painted = match pb::Outcome::try_from(answer.outcome) {
            Ok(pb::Outcome::Allow) => style.green(word),
            Ok(pb::Outcome::Pending) => style.yellow(word),
            Ok(pb::Outcome::Deny | pb::Outcome::Unspecified) | Err(_) => style.red(word),
        };
        let policies: Vec<_> = answer.determining_policies.iter().map(|policy| escaped(policy)).collect();
        let policies = if policies.is_empty() { String::new() } else { format!(" by {}", policies.join(", ")) };
        let details = style.dim(&format!("{}{policies}; {}", escaped(&answer.reason), escaped(&answer.message)));
        self.tell(&format!("{painted}  {details}"))?;
        expect("outcome", outcome(expected.into()), word)?;
        expect("reason", reason, &answer.reason)
    }

    /// A refusal, which must have this reason.
    pub fn refusal(&mut self, code: &str, message: &str) -> Result<(), Failure> {
        let painted = self.screen.style.red(code);
        self.tell(&format!("{painted}  {}", self.screen.style.dim(&escaped(message))))
    }
}

/// The demo fails where the service does not do what is claimed.
pub fn expect<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, expected: &T, found: &T) -> Result<(), Failure> {
    if expected == found {
        return Ok(());
    }
    Err(Failure::Failed(format!("the demo expected {what} {expected:?}, and got {found:?}")))
}
