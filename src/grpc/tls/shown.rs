//! The certificates of clients that are connected: when the CAs that clients may come from are others, each is looked at
//! again, and the connections of those that would not be let in today end.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::Error;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::oneshot;

/// A certificate as a client has shown it: its own, then the intermediate ones.
pub type Chain = Vec<CertificateDer<'static>>;

/// Whether a chain is one that clients may come with.
///
/// # Errors
/// What rustls holds against it.
pub fn check(verifier: &dyn ClientCertVerifier, chain: &Chain, now: UnixTime) -> Result<(), Error> {
    let (own, intermediate) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    verifier.verify_client_cert(own, intermediate, now).map(drop)
}

/// All of them. There are as many as connections.
#[derive(Default)]
pub struct Shown(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, Place>,
}

struct Place {
    chain: Chain,
    /// Ends the connection by being used.
    end: oneshot::Sender<()>,
}

/// Held by a connection as long as it lives; resolves when it must end.
pub struct Held {
    number: u64,
    places: Arc<Mutex<Places>>,
    pub ended: oneshot::Receiver<()>,
}

impl Shown {
    /// Keeps a chain in view, if `is_good` says so with all others standing still: no change of CAs slips between the look
    /// and the keeping.
    pub fn hold(&self, chain: Chain, is_good: impl FnOnce(&Chain) -> bool) -> Option<Held> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_good(&chain) {
            return None;
        }
        let (end, ended) = oneshot::channel();
        let number = places.next;
        places.next = number.wrapping_add(1);
        places.taken.insert(number, Place { chain, end });
        Some(Held { number, places: self.0.clone(), ended })
    }

    /// Ends the connections of those that are not good; returns how many.
    pub fn end_unless(&self, is_good: impl Fn(&Chain) -> bool) -> usize {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended: Vec<_> = places.taken.extract_if(|_, place| !is_good(&place.chain)).collect();
        drop(places);
        // One that is gone by now has ended already.
        ended.into_iter().filter_map(|(_, place)| place.end.send(()).ok()).count()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).taken.remove(&self.number);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(byte: u8) -> Chain {
        vec![CertificateDer::from(vec![byte])]
    }

    #[test]
    fn only_those_that_are_no_longer_good_end_and_nothing_is_kept_of_those_that_went() {
        let shown = Shown::default();
        assert!(shown.hold(chain(0), |_| false).is_none());
        let mut held: Vec<_> = [1, 2, 3].map(|byte| shown.hold(chain(byte), |_| true).unwrap()).into();
        held.remove(0);
        assert_eq!(shown.0.lock().unwrap().taken.len(), 2);
        assert_eq!(shown.end_unless(|one| *one == chain(2)), 1);
        assert_eq!(held[1].ended.try_recv(), Ok(()));
        assert_eq!(held[0].ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(held);
        assert!(shown.0.lock().unwrap().taken.is_empty());
    }
}
