//! How long a search may go on. Whoever asks for it holds the clock; here it is a question that is put before each search, of
//! which none is longer than a segment. Once it is answered with no, nothing more is masked, and nothing unmasked comes out.

use std::fmt;
use std::sync::Arc;

use super::MaskError;

/// The default has no end: for texts whose length is known to be small.
#[derive(Clone, Default)]
pub struct Budget(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Budget {
    /// Until `is_spent` says so; it is asked again and again, and must be cheap.
    pub fn until(is_spent: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_spent)))
    }

    /// # Errors
    /// [`MaskError::Timeout`] once it is spent.
    pub(super) fn ask(&self) -> Result<(), MaskError> {
        if self.0.as_ref().is_some_and(|is_spent| is_spent()) { Err(MaskError::Timeout) } else { Ok(()) }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_some() { "Budget(timed)" } else { "Budget(endless)" })
    }
}
