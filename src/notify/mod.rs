//! Where people are told of approvals: webhooks, Slack, Teams, e-mail. Each channel turns a [`Message`] into one request and says
//! what became of it; when to send, again or never, is the outbox's business (`service::outbox`).
//!
//! Nothing here may widen what an outsider can reach or read: [`dial`] connects only to addresses that [`address`] lets pass,
//! and a message says who wants to do what to what; with which parameters only where people are to decide by buttons, and
//! nothing of them is masked or left out ([`parameters`]).
//!
//! Reading order: [`settings`], [`message`], [`channel`] and its kinds ([`webhook`], [`slack`], [`teams`], [`teams_bot`], [`email`]); below them
//! [`text`], [`signature`], [`dial`], [`address`], [`backoff`]. What comes back from Slack is proved in [`slack_signature`].

pub mod address;
pub mod backoff;
pub mod bot;
pub mod channel;
mod dial;
mod email;
pub mod message;
pub mod parameters;
pub mod secret;
pub mod settings;
pub mod signature;
pub mod slack;
pub mod slack_signature;
pub mod teams;
mod teams_bot;
mod text;
mod webhook;

#[cfg(test)]
mod testing;

pub use backoff::Retry;
pub use bot::BotSettings;
pub use channel::{Channel, Failure, Posted};
pub use message::{Answer, Buttons, Event, Message};
pub use settings::{ChatSettings, Settings, SettingsError, SlackApp, Target, TargetSettings};
