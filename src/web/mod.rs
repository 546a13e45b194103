//! The web edge (axum): the inbox, where people countersign, and the development issuer.
//!
//! A page is made in three steps: a handler asks the service, as any client would ([`inbox`] and its handlers); [`view`] turns
//! the answer into what a page shows; a template of `templates/` writes it down. Handlers convert and decide nothing.
//!
//! Reading order: [`settings`], [`inbox`] (what there is, and the table of pages), [`session`], [`login`] and [`own_sessions`] (who is there),
//! [`request`] (what a form may do), [`slack`] and [`link`] (deciding in chat), [`list`], [`detail`], [`decision`], [`problem`] (the one map of refusals to pages).
//!
//! Absent on purpose: state that a GET could change, a script that a page needs in order to show or decide, anything loaded
//! from elsewhere, a cookie that says more than which session it is.

pub mod dev_issuer;
pub mod inbox;
pub mod metrics;
pub mod settings;

mod assets;
mod away;
mod clicks;
mod cookie;
mod decision;
mod detail;
mod events;
mod figures;
mod glass;
mod headers;
mod link;
mod list;
mod listen;
mod login;
mod own_sessions;
mod pace;
mod problem;
mod provider;
mod request;
mod seal;
mod seen;
mod session;
mod slack;
mod teams;
mod throttle;
mod together;
mod view;

pub use inbox::{Inbox, InboxError};
pub use settings::Settings;
pub use throttle::Pace;
