//! From what the service says to what a page shows: plain values, with every text escaped once, in [`text`].

pub mod approval;
pub mod chain;
pub mod gate;
pub mod moment;
pub mod page;
pub mod row;
pub mod sentence;
pub mod text;
pub mod value;
